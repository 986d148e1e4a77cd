"""A preview of a toonified video: a few of its frames, before and after, in one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from engines.contract.atomic import check_output
from engines.contract.closing import Closing
from engines.contract.errors import VideoError
from serving.faces.alignment import Photo
from serving.faces.images import check_suffix, write_picture
from serving.video.frames import Frame
from serving.video.reading import VideoReader

_WIDTH = 960
"""Largest width of a cell of the sheet, in pixels."""


class SampledFrames(Closing):
    """Yields a few frames of a video, evenly spread from ``start`` to ``end`` (seconds), by seeking.

    If the file does not state its duration, they are its first frames.

    Raises:
        VideoError: see ``VideoReader``.
    """

    def __init__(self, path: Path, count: int = 6, *, start: float | None = None, end: float | None = None) -> None:
        with VideoReader(path, start=start, end=end) as whole:
            self.size, self.duration = whole.size, whole.duration
        self._path, self._start, self._end = path, start or 0.0, end
        self.frame_count: int | None = count

    def __iter__(self) -> Iterator[Frame]:
        count = self.frame_count or 0
        if self.duration is None:
            yield from self._first_frames(count)
            return
        last = Fraction(-1)
        for i in range(count):
            at = self._start + self.duration * i / count
            frame = self._frame_at(at)
            if frame is not None and frame.pts > last:
                last = frame.pts
                yield frame

    def _first_frames(self, count: int) -> Iterator[Frame]:
        with VideoReader(self._path, start=self._start, end=self._end) as reader:
            for frame, _ in zip(reader, range(count), strict=False):
                yield frame

    def _frame_at(self, at: float) -> Frame | None:
        """Return the first frame from a time on, with its ``pts`` from the file's start; None if there is none."""
        try:
            with VideoReader(self._path, start=at or None, end=self._end) as reader:
                frame = next(iter(reader))
        except VideoError:
            return None
        return Frame(frame.pixels, Fraction(at) + frame.pts)


@dataclass
class ContactSheet:
    """A sink that arranges its frames in one picture, two per row.

    Raises:
        ExportError: the file exists and ``force`` is false.
        RequestError: the path has no suffix of a picture.
        VideoError: the source had no frame.
    """

    path: Path
    force: bool = False
    _cells: list[Photo] = field(default_factory=list, init=False)

    def write(self, frame: Frame) -> None:
        """Take one frame."""
        height, width = frame.pixels.shape[:2]
        scale = min(_WIDTH / width, 1.0)
        size = (round(width * scale), max(round(height * scale), 1))
        cell = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA)
        self._cells.append(cell.astype(np.uint8, copy=False))

    def __enter__(self) -> Self:
        check_suffix(self.path)
        check_output(self.path, force=self.force)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if not self._cells:
            raise VideoError(str(self.path), got="no frame", expected="at least one", remedy="check the video")
        cells = [*self._cells, *[np.zeros_like(self._cells[0])] * (len(self._cells) % 2)]
        sheet = np.vstack([np.hstack(cells[i : i + 2]) for i in range(0, len(cells), 2)])
        write_picture(self.path, sheet, force=self.force)
