"""Speed of toonifying a clip from file to file: by ``toonify_video``'s threads, in one thread, and each stage alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Self

import numpy as np

from benchmarks.rounds import alternating, percentiles
from benchmarks.video.clip import DrawnClip
from benchmarks.video.rows import Row, SpeedCase, SpeedRow, StageRow, rows_or_failure
from serving.controls import Style
from serving.faces.landmarks import Landmarker
from serving.toonifier import Toonifier
from serving.video.frames import Frame
from serving.video.jobs import FrameJob, FrameResult
from serving.video.pipeline import toonify_video
from serving.video.reading import VideoReader
from serving.video.session import ToonSession
from serving.video.writing import VideoWriter

BATCH = 4
STAGES = ("decode", "detect", "encode", "render", "paste", "write")
"""The stages that have a thread of their own in ``toonify_video``; "detect" includes the crop."""

Times = defaultdict[str, list[float]]
"""Seconds of every frame, by stage."""


@dataclass(frozen=True)
class Setting:
    """The clip and the models that toonify it; ``landmarker`` creates a landmarker for each session."""

    name: str
    clip: DrawnClip
    toonifier: Toonifier
    landmarker: Callable[[], Landmarker]

    def reader(self, times: Times) -> TimedReader:
        return TimedReader(self.clip.path, times)

    def writer(self, target: Path, reader: VideoReader, times: Times) -> TimedWriter:
        return TimedWriter(target, reader, times)

    def session(self, times: Times) -> TimedSession:
        return TimedSession(self.toonifier, self.landmarker(), times)


class Stopwatch:
    """Measures wall time and busy cores of its ``with`` block, in which a stage ("": all) handles ``frames`` frames."""

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.frames = 0

    def __enter__(self) -> Self:
        self._start, self._cpu = perf_counter(), process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._start
        self.cores_busy = (process_time() - self._cpu) / self.seconds


class TimedReader(VideoReader):
    """A reader that records the seconds that each frame takes to decode."""

    def __init__(self, path: Path, times: Times) -> None:
        super().__init__(path)
        self._times = times

    def __iter__(self) -> Iterator[Frame]:
        frames = super().__iter__()
        while True:
            with _timed(self._times["decode"]):
                frame = next(frames, None)
            if frame is None:
                self._times["decode"].pop()
                return
            yield frame


class TimedWriter(VideoWriter):
    """A writer that records the seconds that each frame takes to write; it encodes by x264, which every machine has."""

    def __init__(self, path: Path, like: VideoReader, times: Times) -> None:
        super().__init__(path, like, codec="libx264", force=True)
        self._times = times

    def write(self, frame: Frame) -> None:
        with _timed(self._times["write"]):
            super().write(frame)


class TimedSession(ToonSession):
    """A session that records the seconds of each stage from its results."""

    def __init__(self, toonifier: Toonifier, landmarker: Landmarker, times: Times) -> None:
        super().__init__(toonifier, landmarker, smoothing="file")
        self._times = times

    def compose(self, job: FrameJob) -> FrameResult:
        result = super().compose(job)
        seconds = dict(result.seconds)
        seconds["detect"] += seconds.pop("align")
        for stage, time in seconds.items():
            self._times[stage].append(time)
        return result


def run_pipelined(setting: Setting, target: Path, times: Times) -> list[Stopwatch]:
    """Toonify the clip by ``toonify_video``, with a thread for each stage."""
    with Stopwatch() as stopwatch, setting.session(times) as session:
        reader = setting.reader(times)
        report = toonify_video(reader, setting.writer(target, reader, times), session, batch=BATCH)
        stopwatch.frames = report.frames
    return [stopwatch]


def run_in_one_thread(setting: Setting, target: Path, times: Times) -> list[Stopwatch]:
    """Toonify the clip by the loop that a user would write: each frame is decoded, toonified and written in turn."""
    with (
        Stopwatch() as stopwatch,
        setting.reader(times) as reader,
        setting.writer(target, reader, times) as writer,
        setting.session(times) as session,
    ):
        for result in _pushed(session, reader):
            writer.write(result.frame)
            stopwatch.frames += 1
    return [stopwatch]


def _pushed(session: ToonSession, frames: Iterable[Frame]) -> Iterator[FrameResult]:
    for frame in frames:
        result = session.push(frame.pixels, frame.pts)
        if result:
            yield result
    yield from session.flush()


def run_stages_alone(setting: Setting, target: Path, times: Times) -> list[Stopwatch]:
    """Run every stage over all frames, which stay in memory, before the next stage begins."""
    alone = {stage: Stopwatch(stage) for stage in STAGES}
    with alone["decode"], setting.reader(times) as reader:
        frames = [*reader]
    with setting.session(times) as session:
        with alone["detect"]:
            jobs = [job for frame in frames if (job := session.follow(frame))] + session.drain()
        batches = [jobs[first : first + BATCH] for first in range(0, len(jobs), BATCH)]
        with alone["encode"]:
            encoded = [session.encode(batch) for batch in batches]
        smooth = [session.smooth(batch) for batch in encoded]
        with alone["render"]:
            rendered = [session.render(batch) for batch in smooth]
        with alone["paste"]:
            results = [session.compose(job) for batch in rendered for job in batch]
    with VideoReader(setting.clip.path) as source, alone["write"], setting.writer(target, source, times) as writer:
        for result in results:
            writer.write(result.frame)
    for stopwatch in alone.values():
        stopwatch.frames = len(frames)
    return [*alone.values()]


SPEED_CASES: dict[SpeedCase, Callable[[Setting, Path, Times], list[Stopwatch]]] = {
    "toonify_video": run_pipelined,
    "one thread": run_in_one_thread,
    "alone": run_stages_alone,
}


def measure_speed(setting: Setting, folder: Path, rounds: int, report: Callable[[str], None]) -> list[Row]:
    """Measure every case in each of ``rounds`` alternating rounds, so that a disturbance affects all of them."""
    for batch in (1, BATCH):  # the first call of a batch size may compile
        setting.toonifier.toonify(np.zeros((batch, 256, 256, 3), np.uint8), Style())
    times: dict[SpeedCase, Times] = {condition: defaultdict(list) for condition in SPEED_CASES}
    rows: list[Row] = []
    for number, condition in alternating([*SPEED_CASES], rounds):
        what = f"{setting.name}, {condition}, round {number + 1}"
        report(what)
        rows += rows_or_failure(what, partial(_measure_case, setting, folder, condition, number, times[condition]))
    return [*rows, *_stages(setting, times)]


def _measure_case(setting: Setting, folder: Path, condition: SpeedCase, number: int, times: Times) -> list[SpeedRow]:
    own: Times = defaultdict(list)
    stopwatches = SPEED_CASES[condition](setting, folder / "toon.mp4", own)
    for stage, seconds in own.items():
        times[stage] += seconds
    return [
        SpeedRow(
            setting.name, condition, stopwatch.stage, number, stopwatch.frames, stopwatch.seconds, stopwatch.cores_busy
        )
        for stopwatch in stopwatches
    ]


def _stages(setting: Setting, times: dict[SpeedCase, Times]) -> Iterator[StageRow]:
    for condition, by_stage in times.items():
        for stage in STAGES:
            if by_stage[stage]:
                p5, p50, p95 = (1e3 * seconds for seconds in percentiles(by_stage[stage]))
                yield StageRow(setting.name, condition, stage, len(by_stage[stage]), p5, p50, p95)


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds.append(perf_counter() - start)
