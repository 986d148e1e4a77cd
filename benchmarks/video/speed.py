"""A clip from file to file: on the threads of ``toonify_video``, in one thread, and each stage alone."""

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
from benchmarks.video.rows import Condition, Row, Speed, Stage, attempted
from serving.controls import Style
from serving.faces.landmarks import Landmarker
from serving.toonifier import Toonifier
from serving.video.frames import Frame
from serving.video.pipeline import toonify_video
from serving.video.reading import VideoReader
from serving.video.session import FrameJob, FrameResult, ToonSession
from serving.video.writing import VideoWriter

BATCH = 4
STAGES = ("decode", "detect", "encode", "render", "paste", "write")
"""What has a thread of its own; "detect" includes the crop."""

Times = defaultdict[str, list[float]]
"""Seconds of every frame, by stage."""


@dataclass(frozen=True)
class Setting:
    """Which models toonify which clip; ``landmarker`` makes one for each session."""

    name: str
    clip: DrawnClip
    toonifier: Toonifier
    landmarker: Callable[[], Landmarker]

    def reader(self, times: Times) -> ClockedReader:
        return ClockedReader(self.clip.path, times)

    def writer(self, target: Path, reader: VideoReader, times: Times) -> ClockedWriter:
        return ClockedWriter(target, reader, times)

    def session(self, times: Times) -> ClockedSession:
        return ClockedSession(self.toonifier, self.landmarker(), times)


class Watch:
    """Seconds, and the processor's seconds, of its ``with`` block, in which one stage or all had ``frames`` frames."""

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.frames = 0

    def __enter__(self) -> Self:
        self._start, self._cpu = perf_counter(), process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._start
        self.cores_busy = (process_time() - self._cpu) / self.seconds


class ClockedReader(VideoReader):
    """Notes how long each frame takes to decode."""

    def __init__(self, path: Path, times: Times) -> None:
        super().__init__(path)
        self._times = times

    def __iter__(self) -> Iterator[Frame]:
        frames = super().__iter__()
        while True:
            with _noted(self._times["decode"]):
                frame = next(frames, None)
            if frame is None:
                self._times["decode"].pop()
                return
            yield frame


class ClockedWriter(VideoWriter):
    """Notes how long each frame takes to write. By x264, which every machine has."""

    def __init__(self, path: Path, like: VideoReader, times: Times) -> None:
        super().__init__(path, like, codec="libx264", force=True)
        self._times = times

    def write(self, frame: Frame) -> None:
        with _noted(self._times["write"]):
            super().write(frame)


class ClockedSession(ToonSession):
    """Notes what its results say of their time."""

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


def in_threads(setting: Setting, target: Path, times: Times) -> list[Watch]:
    """``toonify_video``."""
    with Watch() as watch, setting.session(times) as session:
        reader = setting.reader(times)
        report = toonify_video(reader, setting.writer(target, reader, times), session, batch=BATCH)
        watch.frames = report.frames
    return [watch]


def in_one_thread(setting: Setting, target: Path, times: Times) -> list[Watch]:
    """The loop that one would write: a frame is decoded, toonified and written before the next one."""
    with (
        Watch() as watch,
        setting.reader(times) as reader,
        setting.writer(target, reader, times) as writer,
        setting.session(times) as session,
    ):
        for result in _pushed(session, reader):
            writer.write(result.frame)
            watch.frames += 1
    return [watch]


def _pushed(session: ToonSession, frames: Iterable[Frame]) -> Iterator[FrameResult]:
    for frame in frames:
        result = session.push(frame.pixels, frame.pts)
        if result:
            yield result
    yield from session.flush()


def stages_alone(setting: Setting, target: Path, times: Times) -> list[Watch]:
    """Every stage over all frames, which wait in memory, before the next stage."""
    alone = {stage: Watch(stage) for stage in STAGES}
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
    for watch in alone.values():
        watch.frames = len(frames)
    return [*alone.values()]


CONDITIONS: dict[Condition, Callable[[Setting, Path, Times], list[Watch]]] = {
    "toonify_video": in_threads,
    "one thread": in_one_thread,
    "alone": stages_alone,
}


def measure_speed(setting: Setting, folder: Path, rounds: int, report: Callable[[str], None]) -> list[Row]:
    """All conditions take turns, there and back, so that what disturbs the machine hits all of them."""
    for batch in (1, BATCH):  # the first call of a size may compile
        setting.toonifier.toonify(np.zeros((batch, 256, 256, 3), np.uint8), Style())
    times: dict[Condition, Times] = {condition: defaultdict(list) for condition in CONDITIONS}
    rows: list[Row] = []
    for number, condition in alternating([*CONDITIONS], rounds):
        what = f"{setting.name}, {condition}, round {number + 1}"
        report(what)
        rows += attempted(what, partial(_turn, setting, folder, condition, number, times[condition]))
    return [*rows, *_stages(setting, times)]


def _turn(setting: Setting, folder: Path, condition: Condition, number: int, times: Times) -> list[Speed]:
    own: Times = defaultdict(list)
    watches = CONDITIONS[condition](setting, folder / "toon.mp4", own)
    for stage, seconds in own.items():
        times[stage] += seconds
    return [
        Speed(setting.name, condition, watch.stage, number, watch.frames, watch.seconds, watch.cores_busy)
        for watch in watches
    ]


def _stages(setting: Setting, times: dict[Condition, Times]) -> Iterator[Stage]:
    for condition, by_stage in times.items():
        for stage in STAGES:
            if by_stage[stage]:
                p5, p50, p95 = (1e3 * seconds for seconds in percentiles(by_stage[stage]))
                yield Stage(setting.name, condition, stage, len(by_stage[stage]), p5, p50, p95)


@contextmanager
def _noted(seconds: list[float]) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds.append(perf_counter() - start)
