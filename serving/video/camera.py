"""A frame source that reads a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from engines.contract.closing import Closing
from engines.contract.errors import VideoError
from serving.video.frames import Frame


class CameraReader(Closing):
    """Frames of a camera, without end; use it in a ``with`` block.

    A frame's ``pts`` is its time of arrival by a monotonic clock, in seconds since the first frame of the iteration.

    Args:
        index: OpenCV's number of the camera; 0 is the first one.
        size: width and height to request; a camera selects the nearest size that it supports.

    Raises:
        VideoError: there is no such camera, or it returns no picture; while iterating: it stopped.
    """

    frame_count: int | None = None
    duration: float | None = None

    def __init__(self, index: int = 0, *, size: tuple[int, int] | None = None) -> None:
        self._name = f"camera {index}"
        self._capture = cv2.VideoCapture(index)
        if size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        try:
            height, width = self._read().shape[:2]
        except BaseException:
            self._capture.release()
            raise
        self.size: tuple[int, int] = (width, height)

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        first: int | None = None
        while True:
            pixels = cv2.cvtColor(self._read(), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            now = time.monotonic_ns()
            first = now if first is None else first
            yield Frame(pixels, Fraction(now - first, 10**9))

    def _read(self) -> cv2.typing.MatLike:
        succeeded, pixels = self._capture.read()
        if not succeeded:
            raise VideoError(
                self._name,
                got="no picture",
                expected="a camera that returns pictures",
                remedy="connect it, or give another number",
            )
        return pixels
