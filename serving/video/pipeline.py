"""A whole video, or a camera, through a session: every step on a thread of its own.

    source -> follow -> encode -> smooth -> render -> compose -> sink

What a frame goes through is the session's business; here is only who waits for whom.
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
from serving.video.frames import Frame, FrameSink, FrameSource
from serving.video.session import FrameJob, FrameResult, ToonSession
from serving.video.workers import Workers


@dataclass(frozen=True)
class VideoProgress:
    """How far a run is.

    ``frames``: written so far, of ``total``, which is what the source states, or None. ``dropped``: by a live run.
    ``faces``: frames with a face. ``seconds``: since the start. ``stages``: seconds of work by step, "decode" and
    "write" included; they overlap.
    """

    frames: int
    total: int | None
    dropped: int
    faces: int
    seconds: float
    stages: Mapping[str, float]

    @property
    def fps(self) -> float:
        """Frames written per second."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to go at this speed; None where the number of frames is not known, or nothing is written yet."""
        return None if self.total is None or not self.fps else max(self.total - self.frames, 0) / self.fps


@dataclass(frozen=True)
class VideoReport(VideoProgress):
    """How a run ended: its last progress, and whether it was cancelled, so that the target kept nothing."""

    cancelled: bool = False


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
    """Toonify the frames of a source, each with its own time; for a file every frame gives exactly one.

    Memory does not grow with the length. Source and target are entered and left here; the session stays the caller's,
    and its stream is over when this returns or raises.

    Args:
        source: where frames come from, such as ``serving.video.reading.VideoReader``.
        target: where pictures go. Where the run fails or is cancelled, nothing is left of a file.
        session: best with ``smoothing="file"`` for files and "live" for cameras.
        batch: frames that are toonified together; a live run takes each at once.
        in_flight: batches that the toonifier works on at the same time.
        live: never let the source wait: what comes too fast is dropped, the oldest first. Cancelling such a run is its
            ordinary end, and keeps what was written.
        progress: called after each frame that was written, in the caller's thread; what it raises ends the run.
        cancel: may be set by any thread, or by ``progress``.

    Raises:
        RequestError: ``batch`` or ``in_flight`` below 1.
        ToonifyError: whatever a step raises, as soon as the frames before have been written.
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
    return run.report()


def _file_pipeline(
    frames: Iterable[Frame], session: ToonSession, workers: Workers, batch: int
) -> Iterator[FrameResult]:
    frames = workers.prefetched(frames, 2 * batch)
    jobs = workers.prefetched(_followed(frames, session, workers), 2 * batch)
    return _toonified(_batches(jobs, batch), session, workers, depth=2 * batch)


def _live_pipeline(frames: Iterable[Frame], session: ToonSession, workers: Workers) -> Iterator[FrameResult]:
    # The newest frame waits outside: those inside are shown, and every one more would be a frame of delay.
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
        else:  # the session keeps the frame until others have come, which must not wait for it
            workers.release()
    yield from session.drain()


def _batches(jobs: Iterable[FrameJob], size: int) -> Iterator[list[FrameJob]]:
    iterator = iter(jobs)
    while batch := list(islice(iterator, size)):
        yield batch


class _CancelledError(Exception):
    """Ends the blocks of a run, so that the target sees that it is not whole."""


class _Run:
    """What is known of a run while it goes on."""

    def __init__(self, total: int | None, cancel: Event, live: bool) -> None:
        self._total, self._cancel, self._live = total, cancel, live
        self._start = perf_counter()
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._frames = self._faces = self._dropped = 0

    def decoded(self, source: FrameSource) -> Iterator[Frame]:
        """The source's frames until the run is cancelled, and the time that they took."""
        frames = iter(source)
        while not self._cancel.is_set():
            with self.timed("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def raise_if_cancelled(self) -> None:
        """A live run that is cancelled simply ends, when its source does."""
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
        for stage, seconds in result.seconds.items():
            self._stages[stage] += seconds

    def progress(self) -> VideoProgress:
        seconds = perf_counter() - self._start
        return VideoProgress(self._frames, self._total, self._dropped, self._faces, seconds, dict(self._stages))

    def report(self, *, cancelled: bool = False) -> VideoReport:
        return VideoReport(**vars(self.progress()), cancelled=cancelled)
