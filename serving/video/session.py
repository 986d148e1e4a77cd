"""Sessions: the state for toonifying one stream of frames, such as a camera, a call or a file.

A session has five steps, each in a method of its own: ``follow`` -> ``encode`` -> ``smooth`` -> ``render`` ->
``compose``. ``push`` takes a frame through all of them; ``serving.video.pipeline`` runs each step in a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from typing import Literal

import numpy as np

from engines.contract.arrays import AnyArray, Distances, Pictures
from engines.contract.closing import Closing
from engines.contract.errors import AlignmentError, RequestError, ToonifyError
from serving.controls import Style
from serving.faces.alignment import Photo, crop
from serving.faces.landmarks import Landmarker
from serving.faces.left_alone import FaceCounts, far_of
from serving.toonifier import Toonifier
from serving.video.composing import Composer, Paste
from serving.video.far_faces import FarFaces
from serving.video.frames import Frame
from serving.video.jobs import FrameJob, FrameResult, apply_batched, split_like, timed, toon_faces
from serving.video.stability import (
    CUT_THRESHOLD,
    ROW_WEIGHTS,
    CodeFilter,
    CutDetector,
    FullCodeSchedule,
    GaussianFilter,
    NoFilter,
    OneEuroFilter,
    PlacementFilter,
    RowWeights,
    Tracks,
)
from serving.video.track_attributes import TrackAttributes
from serving.video.tracking import Track, Tracker, Tracking, sightings_from_faces

Smoothing = Literal["live", "file", "off"]

StyleByTime = Callable[[Fraction], Style]
"""Returns the style of a frame by its time in seconds."""


class ToonSession(Closing):
    """Toonifies one stream; use it in a ``with`` block, and make one session for each stream.

    One thread pushes. ``style`` and ``composer`` may be set at any time by any thread, and apply to the frames pushed
    afterwards.

    Args:
        toonifier: computes the pictures; sessions may share one, and the caller closes it.
        landmarker: finds the faces; it must not be shared with another session. Its argument ``name`` is the frame's
            number in the stream, "0" for the first.
        style: the look of the pictures, or a function from a frame's time to it; None is ``Style()``.
        composer: makes the picture to show; None is ``Paste()``.
        smoothing: "live" smooths placements without delay. "file" smooths better, with a look-ahead of nine frames.
            "off" leaves faces where they are detected. A ``PlacementFilter`` of the caller's is used as it is.
        codes: weights for averaging codes over frames. With None codes are not averaged, and each picture takes one
            request. Otherwise a toonifier with a light encoder computes the rows of colours and texture twice a second.
        tracking: how many faces are followed, and what happens to lost ones.
        cut_threshold: see ``serving.video.stability.CutDetector``; infinity disables the detection of cuts.
        leave_far: leave faces alone whose codes lie farther out than those of good faces. Without it the toonifier
            pulls these codes in.

    Raises:
        RequestError: ``smoothing`` is another word.
    """

    def __init__(
        self,
        toonifier: Toonifier,
        landmarker: Landmarker,
        *,
        style: Style | StyleByTime | None = None,
        composer: Composer | None = None,
        smoothing: Smoothing | PlacementFilter = "live",
        codes: RowWeights | None = ROW_WEIGHTS,
        tracking: Tracking | None = None,
        cut_threshold: float = CUT_THRESHOLD,
        leave_far: bool = False,
    ) -> None:
        self.style: Style | StyleByTime = style or Style()
        self.composer = composer or Paste()
        self._toonifier = toonifier
        self._landmarker = landmarker
        self._filter = _filter_of(smoothing)
        self._codes = CodeFilter(codes) if codes else None
        self._full_codes = FullCodeSchedule()
        self._attributes = TrackAttributes()
        self._tracker = Tracker(tracking)
        self._leave_far = leave_far
        self._far_faces = FarFaces((tracking or Tracking()).fade)
        self._cuts = CutDetector(cut_threshold)
        self._waiting: deque[FrameJob] = deque()  # for the filter
        self._number = 0

    def push(self, pixels: Photo, pts: Fraction | float) -> FrameResult | None:
        """Take the next frame, uint8 [H, W, 3] RGB, shown at ``pts`` seconds; return a result, or None if none is due.

        The result of every frame is returned once, in order, by ``push`` or by ``flush``.

        Raises:
            RequestError: ``pixels`` has another dtype or shape, or the toonifier refuses the request.
            ServerError, EngineError: the toonifier fails.
        """
        job = self.follow(Frame(np.ascontiguousarray(pixels), Fraction(pts)))
        return self._complete(job) if job else None

    def flush(self) -> list[FrameResult]:
        """End the stream and return the results of its last frames; the next frame begins a new stream."""
        return [self._complete(job) for job in self.drain()]

    def reset(self) -> None:
        """Discard all state, including frames whose results have not been returned."""
        self._filter.flush()
        self._begin_stream()
        self._attributes.reset()
        self._far_faces.reset()
        if self._codes:
            self._codes.reset()

    # The five steps. Each takes frames in order; ``encode`` and ``render`` are stateless, and any thread may call them.

    def follow(self, frame: Frame) -> FrameJob | None:
        """Detect, track and cut out the faces of the next frame; None while the filter waits for more frames."""
        _check(frame.pixels)
        style = self.style(frame.pts) if callable(self.style) else self.style
        job = FrameJob(frame, style, self.composer)
        with timed([job], "detect"):
            faces = self._landmarker(frame.pixels, str(self._number))
            if self._cuts.is_cut(frame.pixels) or frame.new_scene:
                self._tracker.reset()
            tracks = self._tracker.update(sightings_from_faces(faces), float(frame.pts))
            job.small = self._tracker.small_faces
        self._number += 1
        self._waiting.append(job)
        steady = self._filter.push(tracks, float(frame.pts))
        return None if steady is None else self._cut_out_faces(steady)

    def drain(self) -> list[FrameJob]:
        """Return the frames that ``follow`` still holds back; the next frame begins a new stream."""
        jobs = [self._cut_out_faces(steady) for steady in self._filter.flush()]
        self._begin_stream()
        return jobs

    def encode(self, jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
        """Encode the faces of a batch of frames; without smoothing of codes, ``render`` does it.

        An edit that keeps attributes reads them from the first frames of each track.

        Raises:
            RequestError: far faces are to be left alone, and the models do not tell which are far.
            ServerError, EngineError: the toonifier fails.
        """
        if unread := [job for job in jobs if job.unread]:
            with timed(unread, "encode"):
                for job in unread:
                    assert job.crops is not None
                    job.shown = self._toonifier.read_attributes(job.crops)
        with_faces = [job for job in jobs if self._codes and job.crops is not None]
        for light in (False, True):
            if batch := [job for job in with_faces if job.light == light]:
                with timed(batch, "encode"):
                    encode = partial(self._toonifier.encode_with_distance, light=light)
                    codes = self._noting_far_faces(encode, batch)
                for job, w in zip(batch, codes, strict=True):
                    job.codes = w
        return jobs

    def _noting_far_faces(
        self, function: Callable[[Pictures], tuple[AnyArray, Distances | None]], jobs: Sequence[FrameJob]
    ) -> list[AnyArray]:
        """Apply a function to the crops of all jobs in one call, note whose codes lay far out, and split its result."""
        crops = [job.crops for job in jobs if job.crops is not None]
        result, distances = function(np.concatenate(crops))
        far = far_of(distances, leave=self._leave_far)
        if far is not None:
            for job, each in zip(jobs, split_like(crops, far), strict=True):
                job.far = each
        return split_like(crops, result)

    def smooth(self, jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
        """Average the codes, and the attributes that are kept, with those of earlier frames."""
        for job in jobs:
            if job.style.keeps and job.crops is not None:
                job.shown = self._attributes.push([track.id for track in job.tracks], job.shown)
            if self._codes and job.codes is not None:
                job.codes = self._codes.push([track.id for track in job.tracks], job.codes, float(job.frame.pts))
        return jobs

    def render(self, jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
        """Render the faces of a batch of frames."""
        with_faces = (job for job in jobs if job.crops is not None)
        for style, group in groupby(with_faces, key=lambda job: job.style):
            batch = [*group]
            with timed(batch, "render"):
                for job, pictures in zip(batch, self._pictures(batch, style), strict=True):
                    job.pictures = pictures
        return jobs

    def compose(self, job: FrameJob) -> FrameResult:
        """Make the picture to show."""
        with timed([job], "paste"):
            faces = tuple(toon_faces(job, self._opacities(job)))
            pixels = job.composer(job.frame.pixels, faces)
        counts = FaceCounts(job.small, None if job.far is None else int(job.far.sum()))
        return FrameResult(replace(job.frame, pixels=pixels), faces, job.seconds, counts)

    def _opacities(self, job: FrameJob) -> list[float]:
        ids = [track.id for track in job.tracks]
        if self._leave_far and job.far is not None:
            return self._far_faces.push(ids, job.far, float(job.frame.pts))
        return [1.0] * len(ids)

    def _begin_stream(self) -> None:
        self._waiting.clear()
        self._tracker.reset()
        self._cuts.reset()
        self._full_codes.reset()
        self._number = 0

    def _complete(self, job: FrameJob) -> FrameResult:
        try:
            self.render(self.smooth(self.encode([job])))
        except ToonifyError:
            self._full_codes.reset()  # the rows that this frame should have provided may be lost
            raise
        return self.compose(job)

    def _cut_out_faces(self, tracks: Tracks) -> FrameJob:
        """Cut out the faces ``tracks`` of the frame that has waited longest."""
        job = self._waiting.popleft()
        with timed([job], "align"):
            shown = (track for track in tracks if track.opacity > 0)
            crops = {track: cut for track in shown if (cut := _crop(job.frame.pixels, track)) is not None}
            job.tracks = tuple(crops)
            job.crops = np.stack([*crops.values()]) if crops else None
        full = self._full_codes.due([track.id for track in crops], float(job.frame.pts))
        job.light = self._toonifier.has_light_encoder and not full
        job.unread = job.crops is not None and job.style.keeps and self._attributes.due([track.id for track in crops])
        return job

    def _pictures(self, jobs: Sequence[FrameJob], style: Style) -> list[Pictures]:
        read = [job.shown for job in jobs if job.shown is not None]
        shown = np.concatenate(read) if read else None
        if self._codes:
            return apply_batched(lambda w: self._toonifier.render(w, style, shown), [job.codes for job in jobs])
        if shown is None:
            return self._noting_far_faces(partial(self._toonifier.toonify_with_distance, style=style), jobs)

        def rendered(crops: Pictures) -> tuple[Pictures, Distances | None]:
            w, distances = self._toonifier.encode_with_distance(crops)
            return self._toonifier.render(w, style, shown), distances

        return self._noting_far_faces(rendered, jobs)

    def close(self) -> None:
        """Forget the stream."""
        self.reset()


def _filter_of(smoothing: Smoothing | PlacementFilter) -> PlacementFilter:
    if not isinstance(smoothing, str):
        return smoothing
    filters: dict[str, type[PlacementFilter]] = {"live": OneEuroFilter, "file": GaussianFilter, "off": NoFilter}
    if smoothing not in filters:
        raise RequestError(
            f"smoothing {smoothing!r}",
            got="an unknown word",
            expected=f"one of {', '.join(filters)}, or a filter",
            remedy="use 'live' for cameras and 'file' for files",
        )
    return filters[smoothing]()


def _crop(pixels: Photo, track: Track) -> Photo | None:
    """Return a face's crop; None if its placement, held or lagging behind the face, lies outside the frame."""
    try:
        return crop(pixels, track.placement)
    except AlignmentError:
        return None


def _check(pixels: AnyArray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise RequestError(
            "frame",
            got=f"{pixels.dtype} {list(pixels.shape)}",
            expected="uint8 [H,W,3], RGB",
            remedy="convert the array before the call",
        )
