"""A frame source that reads a video file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

from engines.contract.closing import Closing
from engines.contract.errors import VideoError
from serving.video.colour import ToRgb
from serving.video.decoding import Decoder
from serving.video.frames import Frame
from serving.video.libav import as_video_errors, check_frame_size, damaged_packets, not_a_video


class VideoReader(Closing):
    """Yields the frames of a video file with their own times; use it in a ``with`` block, and iterate once.

    Frames are upright, with square pixels, and all have the first one's size: one of another shape is fitted into it
    between black bars, and begins a new scene. See ``serving.video.colour`` for colours.
    Times count from the file's start, or from ``start``; variable frame rates are preserved. A frame without a time
    follows the previous one at the nominal rate, and one that is not later than the previous one follows it by a tick.

    Args:
        path: a file of any common format (MP4, MOV, Matroska, WebM, AVI, MPEG-TS, ...).
        start: seconds from the file's start; frames before it are left out.
        end: seconds from the file's start; this frame and those after it are left out.

    Attributes:
        size: width and height in pixels.
        time_base: the file's clock tick in seconds; every ``pts`` is a multiple of it.
        rate: average number of frames per second stated by the file, or None.
        frame_count: number of frames stated by the file; None if it states none, and for a part of a file.
        duration: seconds of the file or of the part; None if the file does not state its duration.
        clip: the file and the part of it, for reading its sound.

    Raises:
        VideoError: the file is missing, is not a video, has too large frames, or has no picture there; while iterating:
            it cannot be read.
    """

    def __init__(self, path: Path, *, start: float | None = None, end: float | None = None) -> None:
        _check_part(path, start, end)
        self._path = path
        self._decoder = Decoder(path, start, end)
        try:
            with self._as_video_errors():
                self._read_first_picture()
        except BaseException:
            self._decoder.close()
            raise
        self.time_base = self._decoder.time_base
        self.rate = self._decoder.stream.average_rate or self._decoder.stream.guessed_rate
        self.clip = self._decoder.clip
        self.duration = self._decoder.duration
        self.frame_count = (self._decoder.stream.frames or None) if start is None and end is None else None

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    @property
    def damaged(self) -> int:
        """Number of packets so far that could not be decoded; their frames are missing."""
        return self._decoder.damaged

    @property
    def notes(self) -> list[str]:
        """What was left out of the file, as parts of a sentence."""
        damaged = [damaged_packets(self.damaged, "the pictures")] if self.damaged else []
        return [*damaged, *self._decoder.left_out]

    def __iter__(self) -> Iterator[Frame]:
        with self._as_video_errors():
            shape = self.size
            for tick, duration, picture, pixel_aspect in self._pictures:
                before, shape = shape, self._to_rgb.shape_of(picture, pixel_aspect)
                pixels = self._to_rgb(picture, pixel_aspect)
                yield Frame(pixels, tick * self.time_base, duration * self.time_base, new_scene=shape != before)

    def _read_first_picture(self) -> None:
        """Decode the first picture to learn the frames' size, since the orientation is stored with the pictures."""
        pictures = iter(self._decoder)
        first = next(pictures, None)
        if first is None:
            part = not self._decoder.clip.from_start or self._decoder.clip.end is not None
            got = "no picture in the requested part" if part else "no picture that can be decoded"
            raise not_a_video(self._path, got)
        self._pictures = chain([first], pictures)
        self._to_rgb = ToRgb(first.frame, first.pixel_aspect)
        self.size = self._to_rgb.size
        check_frame_size(self._path, *self.size)  # pixels that are not square can make it four times as wide

    def _as_video_errors(self) -> AbstractContextManager[None]:
        return as_video_errors(self._path, "a video that can be read", "check the file and its disk")


def _check_part(path: Path, start: float | None, end: float | None) -> None:
    first, last = start or 0.0, math.inf if end is None else end
    if not 0 <= first < last or end == math.inf:
        raise VideoError(
            str(path),
            got=f"a part from {first:g} s to {last:g} s",
            expected="0 <= start < end",
            remedy="give the seconds at which the part starts and ends",
        )
