"""Frames on their way through a session, and what its steps do with batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray, Codes, Pictures
from serving.controls import Style
from serving.faces.alignment import Photo
from serving.faces.left_alone import FaceCounts
from serving.video.composing import Composer, ToonFace
from serving.video.frames import Frame
from serving.video.stability import Tracks


@dataclass(eq=False)
class FrameJob:
    """A frame on its way through a session; every step adds its result.

    ``crops``, ``codes`` and ``pictures`` have one row for each of ``tracks``; None stands for a step that is still to
    come, or for a frame without faces. ``light``: the light encoder's rows of the codes suffice. ``unread``: the
    attributes that the faces show are to be read. ``shown``: those attributes [N, A], of this frame and then averaged
    over the track. ``small``: number of faces that are left alone because they are small. ``far`` [N]: whether a face's
    code lay too far out; None where that is not known. ``seconds``: time spent in each step.
    """

    frame: Frame
    style: Style
    composer: Composer
    tracks: Tracks = ()
    crops: Pictures | None = None
    light: bool = False
    unread: bool = False
    codes: Codes | None = None
    shown: AnyArray | None = None
    pictures: Pictures | None = None
    small: int = 0
    far: NDArray[np.bool_] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The result for a frame.

    ``frame``: the picture to show, with the time of the frame that it was made from.
    ``faces``: the faces in it, oldest track first.
    ``seconds``: time of each step, "detect", "align", "encode", "render" and "paste"; a batch shares its time equally.
    ``counts``: the faces that were left alone, or whose codes were pulled in.
    """

    frame: Frame
    faces: tuple[ToonFace, ...]
    seconds: Mapping[str, float]
    counts: FaceCounts = field(default_factory=FaceCounts)

    @property
    def pixels(self) -> Photo:
        """The picture to show, uint8 [H, W, 3], RGB."""
        return self.frame.pixels

    @property
    def pts(self) -> Fraction:
        """Time of the frame in seconds."""
        return self.frame.pts


def toon_faces(job: FrameJob, opacities: Sequence[float]) -> Iterator[ToonFace]:
    """Yield the faces of a frame that has been rendered, each with its opacity times the given one, if any is left."""
    if job.crops is None or job.pictures is None:
        return
    for track, face, picture, share in zip(job.tracks, job.crops, job.pictures, opacities, strict=True):
        if opacity := share * track.opacity:
            yield ToonFace(track.id, track.placement, track.seen, opacity, face, picture, track.outline)


def apply_batched(function: Callable[[AnyArray], AnyArray], parts: Sequence[AnyArray | None]) -> list[AnyArray]:
    """Apply a function to the rows of all parts in one call, and split its result like the parts."""
    arrays = [part for part in parts if part is not None]
    return split_like(arrays, function(np.concatenate(arrays)))


def split_like(arrays: Sequence[AnyArray], joined: AnyArray) -> list[AnyArray]:
    """Split an array into parts with as many rows as each of ``arrays``."""
    return np.split(joined, np.cumsum([len(array) for array in arrays])[:-1])


@contextmanager
def timed(jobs: Sequence[FrameJob], step: str) -> Iterator[None]:
    """Share the time that the block takes among the jobs, as the time of a step."""
    start = perf_counter()
    yield
    share = (perf_counter() - start) / len(jobs)
    for job in jobs:
        job.seconds[step] = job.seconds.get(step, 0.0) + share
