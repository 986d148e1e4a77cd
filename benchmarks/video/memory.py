"""Resident memory of a process while it toonifies a long video."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.memory import resident_bytes, return_freed_memory
from benchmarks.video.clip import KnownLandmarks, StandInToonifier, draw_clip
from benchmarks.video.rows import MemoryRow, Row, rows_or_failure
from serving.video.pipeline import VideoProgress, toonify_video
from serving.video.reading import VideoReader
from serving.video.session import ToonSession
from serving.video.writing import VideoWriter

SIZE = (160, 120)
"""Small frames, so that many of them take little time; what grows with their number grows here too."""


def measure_memory(folder: Path, frames: int, step: int) -> Sequence[Row]:
    """Toonify a clip of ``frames`` frames with the stand-in, in a new process; a row for every ``step`` frames."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(rows_or_failure, "memory", partial(_rows, folder, frames, step)).result()


def _rows(folder: Path, frames: int, step: int) -> list[MemoryRow]:
    clip = draw_clip(folder / "long.mp4", SIZE, frames, drawn=25)
    return_freed_memory()
    rows = []

    def sample(progress: VideoProgress) -> None:
        if progress.frames % step == 0:
            rows.append(MemoryRow(progress.frames, resident_bytes() / 2**20))

    source = VideoReader(clip.path)
    target = VideoWriter(folder / "long_toon.mp4", source, codec="libx264")
    with ToonSession(StandInToonifier(), KnownLandmarks(clip.points), smoothing="file") as session:
        toonify_video(source, target, session, progress=sample)
    return rows
