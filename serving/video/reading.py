"""Frames of a video file."""

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
from serving.video.libav import as_video_errors, not_a_video


class VideoReader(Closing):
    """Frames of a video file with their own times, once each; use it in ``with``, and iterate once.

    Frames are upright, with square pixels, all of the first one's size; see ``serving.video.colour`` for colours.
    Times count from the file's start, or from ``start``; variable frame rates stay what they are. A frame without a
    time follows the last one at the nominal rate, and one that is not later than the last one follows it by one tick.

    Args:
        path: a file of any common format (MP4, MOV, Matroska, WebM, AVI, MPEG-TS, ...).
        start, end: seconds from the file's start; frames with ``start`` <= time < ``end`` are given.

    Attributes:
        size: width and height.
        time_base: the file's clock tick in seconds; every ``pts`` is a multiple of it.
        rate: frames per second on average, as the file states it; None where it does not.
        frame_count: as the file states it; None where it does not, and for a part of a file.
        duration: seconds, of the part where there is one; None where the file does not state it.
        clip: which part of which file this is, for its sound.

    Raises:
        VideoError: the file is missing, is no video, or has no picture there; while iterating: it cannot be read.
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
        """Packets so far that could not be decoded; their frames are missing."""
        return self._decoder.damaged

    def __iter__(self) -> Iterator[Frame]:
        with self._as_video_errors():
            for tick, duration, picture in self._pictures:
                yield Frame(self._to_rgb(picture), tick * self.time_base, duration * self.time_base)

    def _read_first_picture(self) -> None:
        """It alone tells the size: how the picture is turned is stored with pictures."""
        pictures = iter(self._decoder)
        first = next(pictures, None)
        if first is None:
            part = not self._decoder.clip.whole or self._decoder.clip.end is not None
            got = "no picture in the part that was asked for" if part else "no picture that can be decoded"
            raise not_a_video(self._path, got)
        self._pictures = chain([first], pictures)
        self._to_rgb = ToRgb(first.frame, float(self._decoder.stream.sample_aspect_ratio or 1))
        self.size = self._to_rgb.size

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
