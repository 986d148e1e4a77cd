"""The pipeline that takes a whole video, or a camera, through a session: every step has a thread of its own.

    source -> follow -> encode -> smooth -> render -> compose -> sink

The session defines the steps; this module only connects and bounds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Event
from time import perf_counter

from engines.contract.errors import RequestError
from serving.faces.left_alone import FaceCounts
from serving.video.frames import Frame, FrameSink, FrameSource, Noting
from serving.video.jobs import FrameJob, FrameResult
from serving.video.session import ToonSession
from serving.workers import Workers


@dataclass(frozen=True)
class VideoProgress:
    """The progress of a run.

    ``frames``: the number of frames written so far.
    ``total``: the number of frames stated by the source, or None.
    ``dropped``: the number of frames dropped by a live run.
    ``faces``: the number of frames with a face.
    ``seconds``: the time since the start.
    ``stages``: seconds of work by step, including "decode" and "write"; the steps overlap.
    ``small``: the number of faces, counted in every frame, that were left alone because they are small.
    ``far``: the number of faces, counted in every frame, whose codes lay farther out than those of good faces; None if
    the models do not tell.
    """

    frames: int
    total: int | None
    dropped: int
    faces: int
    seconds: float
    stages: Mapping[str, float]
    small: int = 0
    far: int | None = None

    @property
    def remarks(self) -> list[str]:
        """What a person is told about faces that were left alone or pulled in, as parts of a sentence."""
        return FaceCounts(self.small, self.far).remarks

    @property
    def fps(self) -> float:
        """Frames written per second."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at this speed; None if the number of frames is unknown or nothing has been written."""
        return None if self.total is None or not self.fps else max(self.total - self.frames, 0) / self.fps


@dataclass(frozen=True)
class VideoReport(VideoProgress):
    """The result of a run: its last progress.

    ``cancelled``: whether it was cancelled, in which case the target keeps nothing.
    ``notes``: what source and target left out, such as damaged packets and subtitles, as parts of a sentence.
    """

    cancelled: bool = False
    notes: tuple[str, ...] = ()


def toonify_video(
    source: FrameSource,
    target: FrameSink,
    session: ToonSession,
    *,
    batch: int = 4,
    in_flight: int = 2,
    live: bool = False,
    progress: Callable[[VideoProgress], None] | None = None,
    cancel: Event | None = None,
) -> VideoReport:
    """Toonify the frames of a source, each with its own time; unless ``live``, every frame yields exactly one.

    Memory does not grow with the length of the video. This function enters and leaves source and target. The caller
    closes the session, whose stream ends when this function returns or raises.

    Args:
        source: yields the frames, such as ``serving.video.reading.VideoReader``.
        target: takes the pictures. If the run fails or is cancelled, no file is left.
        session: preferably with ``smoothing="file"`` for files and "live" for cameras.
        batch: number of frames that are toonified together; a live run always uses 1.
        in_flight: number of batches that the toonifier works on at the same time.
        live: never let the source wait; frames that come too fast are dropped, the oldest first. Cancelling a live run
            is its regular end, and keeps what was written.
        progress: called after each written frame, in the caller's thread; an exception that it raises ends the run.
        cancel: ends the run when it is set, by any thread or by ``progress``.

    Raises:
        RequestError: ``batch`` or ``in_flight`` is below 1.
        ToonifyError: a step fails; it is raised once the frames before have been written.
    """
    if min(batch, in_flight) < 1:
        raise RequestError(
            "video run",
            got=f"batches of {batch}, {in_flight} in flight",
            expected="1 or more of both",
            remedy="correct the numbers",
        )
    run = _Run(source.frame_count, cancel or Event(), live)
    try:
        with source, target, Workers(in_flight) as workers:
            pipeline = _live_pipeline if live else partial(_file_pipeline, batch=batch)
            for result in pipeline(run.decoded(source), session, workers):
                run.raise_if_cancelled()
                with run.timed("write"):
                    target.write(result.frame)
                workers.release()
                run.count(result, workers.dropped)
                if progress:
                    progress(run.progress())
            run.raise_if_cancelled()
    except _CancelledError:
        return run.report(cancelled=True)
    finally:
        session.reset()
    notes = [note for part in (source, target) if isinstance(part, Noting) for note in part.notes]
    return run.report(notes=notes)


def _file_pipeline(
    frames: Iterable[Frame], session: ToonSession, workers: Workers, batch: int
) -> Iterator[FrameResult]:
    frames = workers.prefetched(frames, 2 * batch)
    jobs = workers.prefetched(_followed(frames, session, workers), 2 * batch)
    return _toonified(_batches(jobs, batch), session, workers, depth=2 * batch)


def _live_pipeline(frames: Iterable[Frame], session: ToonSession, workers: Workers) -> Iterator[FrameResult]:
    # The newest frame waits outside the pipeline. Every frame inside will be shown, and each adds a frame of delay.
    newest = workers.admitted(workers.prefetched(frames, 1, drop_oldest=True), workers.parallel + 2)
    jobs = workers.prefetched(_followed(newest, session, workers), 1)
    return _toonified(_batches(jobs, 1), session, workers, depth=1)


def _toonified(
    batches: Iterable[Sequence[FrameJob]], session: ToonSession, workers: Workers, depth: int
) -> Iterator[FrameResult]:
    encoded = workers.mapped(session.encode, batches)
    rendered = workers.mapped(session.render, map(session.smooth, encoded))
    return workers.prefetched((session.compose(job) for jobs in rendered for job in jobs), depth)


def _followed(frames: Iterable[Frame], session: ToonSession, workers: Workers) -> Iterator[FrameJob]:
    for frame in frames:
        job = session.follow(frame)
        if job:
            yield job
        else:  # the session holds the frame back until later ones have come, so they must be admitted
            workers.release()
    yield from session.drain()


def _batches(jobs: Iterable[FrameJob], size: int) -> Iterator[list[FrameJob]]:
    iterator = iter(jobs)
    while batch := list(islice(iterator, size)):
        yield batch


class _CancelledError(Exception):
    """Ends the ``with`` blocks of a cancelled run by an error, so that the target discards what it has."""


class _Run:
    """The state of a run."""

    def __init__(self, total: int | None, cancel: Event, live: bool) -> None:
        self._total, self._cancel, self._live = total, cancel, live
        self._start = perf_counter()
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._frames = self._faces = self._dropped = self._small = 0
        self._far: int | None = None

    def decoded(self, source: FrameSource) -> Iterator[Frame]:
        """Yield the source's frames until the run is cancelled, and measure the time that decoding takes."""
        frames = iter(source)
        while not self._cancel.is_set():
            with self.timed("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def raise_if_cancelled(self) -> None:
        """Raise if the run is cancelled, unless it is live: a cancelled live run ends when ``decoded`` does."""
        if self._cancel.is_set() and not self._live:
            raise _CancelledError

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self._stages[stage] += perf_counter() - start

    def count(self, result: FrameResult, dropped: int) -> None:
        self._frames += 1
        self._faces += bool(result.faces)
        self._dropped = dropped
        self._small += result.counts.small
        if result.counts.far is not None:
            self._far = (self._far or 0) + result.counts.far
        for stage, seconds in result.seconds.items():
            self._stages[stage] += seconds

    def progress(self) -> VideoProgress:
        seconds = perf_counter() - self._start
        counted = (self._frames, self._total, self._dropped, self._faces)
        return VideoProgress(*counted, seconds, dict(self._stages), self._small, self._far)

    def report(self, *, cancelled: bool = False, notes: Iterable[str] = ()) -> VideoReport:
        return VideoReport(**vars(self.progress()), cancelled=cancelled, notes=tuple(notes))
