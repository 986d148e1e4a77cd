"""Resident memory of a process while it toonifies a long video."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.memory import resident_bytes, return_freed_memory
from benchmarks.video.clip import KnownLandmarks, StandIn, draw_clip
from benchmarks.video.rows import Memory, Row, attempted
from serving.video.pipeline import VideoProgress, toonify_video
from serving.video.reading import VideoReader
from serving.video.session import ToonSession
from serving.video.writing import VideoWriter

SIZE = (160, 120)
"""Small, so that many frames take little time: what grows with their number grows here too."""


def measure_memory(folder: Path, frames: int, step: int) -> Sequence[Row]:
    """Toonify a clip of so many frames with the stand-in; a row every ``step`` frames.

    In a process of its own, which has done nothing else before.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(attempted, "memory", partial(_rows, folder, frames, step)).result()


def _rows(folder: Path, frames: int, step: int) -> list[Memory]:
    clip = draw_clip(folder / "long.mp4", SIZE, frames, drawn=25)
    return_freed_memory()
    rows = []

    def sample(progress: VideoProgress) -> None:
        if progress.frames % step == 0:
            rows.append(Memory(progress.frames, resident_bytes() / 2**20))

    source = VideoReader(clip.path)
    target = VideoWriter(folder / "long_toon.mp4", source, codec="libx264")
    with ToonSession(StandIn(), KnownLandmarks(clip.points), smoothing="file") as session:
        toonify_video(source, target, session, progress=sample)
    return rows
