"""The frames of a video pipeline, and the interfaces of its source and sink, which an app may implement itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.contract.closing import ContextManager


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    ``pixels``: uint8 [H, W, 3], RGB, contiguous, upright.
    ``pts``: exact time in seconds from the start of the video (presentation time stamp).
    ``duration``: seconds until the next frame, 0 if unknown; only the last frame's is ever needed.
    ``new_scene``: True if the source knows that faces cannot be followed from the frame before to this one.
    """

    pixels: NDArray[np.uint8]
    pts: Fraction
    duration: Fraction = Fraction(0)
    new_scene: bool = False


class FrameSource(ContextManager, Protocol):
    """Yields its frames once, with rising ``pts``; one thread may iterate."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame."""
        ...

    @property
    def frame_count(self) -> int | None:
        """Number of frames stated by the source; None if it is unknown."""
        ...

    @property
    def duration(self) -> float | None:
        """Total duration in seconds; None if it is unknown."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...


class FrameSink(ContextManager, Protocol):
    """Takes frames in rising order of ``pts``, from one thread.

    Its output exists, complete, after the ``with`` block. If the block ends by an error, there is no output.
    """

    def write(self, frame: Frame) -> None:
        """Take one frame; its pixels are not used after this returns."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A source or a sink that says what it left out; whether it does is up to it."""

    @property
    def notes(self) -> Sequence[str]:
        """What was left out, as parts of a sentence; complete after the ``with`` block."""
        ...
