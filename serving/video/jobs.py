"""Frames on their way through a session, and what its steps do with batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Pictures
from serving.controls import Style
from serving.faces.alignment import Photo
from serving.video.composing import Composer, ToonFace
from serving.video.frames import Frame
from serving.video.stability import Tracks


@dataclass(eq=False)
class FrameJob:
    """A frame on its way through a session; every step adds its result.

    ``crops``, ``codes`` and ``pictures`` have one row for each of ``tracks``; None stands for a step that is still to
    come, or for a frame without faces. ``light``: the light encoder's rows of the codes suffice. ``unread``: the
    attributes that the faces show are to be read. ``shown``: those attributes [N, A], of this frame and then averaged
    over the track. ``seconds``: time spent in each step.
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
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The result for a frame.

    ``frame``: the picture to show, with the time of the frame that it was made from.
    ``faces``: the faces in it, oldest track first.
    ``seconds``: time of each step, "detect", "align", "encode", "render" and "paste"; a batch shares its time equally.
    """

    frame: Frame
    faces: tuple[ToonFace, ...]
    seconds: Mapping[str, float]

    @property
    def pixels(self) -> Photo:
        """The picture to show, uint8 [H, W, 3], RGB."""
        return self.frame.pixels

    @property
    def pts(self) -> Fraction:
        """Time of the frame in seconds."""
        return self.frame.pts


def toon_faces(job: FrameJob) -> Iterator[ToonFace]:
    """Yield the faces of a frame that has been rendered."""
    if job.crops is not None and job.pictures is not None:
        for track, face, picture in zip(job.tracks, job.crops, job.pictures, strict=True):
            yield ToonFace(track.id, track.placement, track.seen, track.opacity, face, picture, track.outline)


def apply_batched(function: Callable[[AnyArray], AnyArray], parts: Sequence[AnyArray | None]) -> list[AnyArray]:
    """Apply a function to the rows of all parts in one call, and split its result like the parts."""
    arrays = [part for part in parts if part is not None]
    ends = np.cumsum([len(array) for array in arrays])[:-1]
    return np.split(function(np.concatenate(arrays)), ends)


@contextmanager
def timed(jobs: Sequence[FrameJob], step: str) -> Iterator[None]:
    """Share the time that the block takes among the jobs, as the time of a step."""
    start = perf_counter()
    yield
    share = (perf_counter() - start) / len(jobs)
    for job in jobs:
        job.seconds[step] = job.seconds.get(step, 0.0) + share
