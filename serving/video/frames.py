"""What flows through a video pipeline, and the two ends that an app may replace by its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.contract.closing import ContextManager


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    ``pixels``: uint8 [H, W, 3], RGB, contiguous, upright. ``pts``: seconds from the start of the video, exact.
    ``duration``: seconds until the next frame, 0 where unknown; only the last frame's is ever needed.
    """

    pixels: NDArray[np.uint8]
    pts: Fraction
    duration: Fraction = Fraction(0)


class FrameSource(ContextManager, Protocol):
    """Gives its frames once, in the order in which they are shown; their ``pts`` rise. One thread may iterate."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame."""
        ...

    @property
    def frame_count(self) -> int | None:
        """Number of frames, as the source states it; None where it does not know."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds in all; None where the source does not know."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...


class FrameSink(ContextManager, Protocol):
    """Takes frames in rising order of ``pts``, from one thread; its output is there, whole, after ``with``.

    Where the block ends by an error, there is no output.
    """

    def write(self, frame: Frame) -> None:
        """Take one frame; its pixels are not used any more when this returns."""
        ...
