"""Runs of a command: one video after the other through one toonifier, told to one reporter."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, Literal, TypeVar

from rich.console import Console

from serving.errors import ToonifyError
from serving.landmarks import Landmarker, landmarker_from_option
from serving.toonifier import Style, Toonifier
from serving.video.composing import Composer, FirstFace, Paste, SideBySide
from serving.video.frames import FrameSink, FrameSource
from serving.video.pipeline import VideoProgress, VideoReport, toonify_video
from serving.video.prealigned import prealigned_landmarker
from serving.video.reporting import Reporter, stage_table
from serving.video.session import Smoothing, ToonSession
from serving.video.stability import ROW_WEIGHTS

Look = Literal["paste", "crop", "side-by-side"]
Source = TypeVar("Source", bound=FrameSource)


@dataclass(frozen=True)
class Runner:
    """What all videos of one command share. ``cancel`` ends the run that goes on, and those that would follow."""

    toonifier: Toonifier
    landmarker: Landmarker
    style: Style
    reporter: Reporter
    cancel: Event
    stats: bool = False

    def run_all(
        self, jobs: Sequence[tuple[Path, Path]], run: Callable[[Path, Path], VideoReport], *, skip: bool
    ) -> bool:
        """Run every (video, target), and report what becomes of it; whether none failed and all were begun.

        ``skip``: leave alone those whose target is there.
        """
        good = True
        for video, target in jobs:
            if self.cancel.is_set():
                return False
            if skip and target.exists():
                self.reporter.skipped(target)
                continue
            self.reporter.begun(target)
            try:
                report = run(video, target)
            except ToonifyError as error:
                self.reporter.failed(target, error)
                good = False
                continue
            self.reporter.finished(target, report)
            good = good and not report.cancelled
            if self.stats:
                Console(stderr=True).print(stage_table(report))
        return good

    def run(
        self,
        source: Source,
        target: Callable[[Source], FrameSink],
        *,
        composer: Composer,
        smoothing: Smoothing,
        seconds: float | None = None,
        **options: Any,
    ) -> VideoReport:
        """Toonify one source into the target that is made for it; ``options`` are those of ``toonify_video``.

        ``smoothing``: "off" also leaves the codes of every frame as they are. ``seconds``: end then.
        """

        def progress(state: VideoProgress) -> None:
            self.reporter.progress(state)
            if seconds is not None and state.seconds >= seconds:
                self.cancel.set()

        codes = None if smoothing == "off" else ROW_WEIGHTS
        with (
            source,  # here too, as a target that is refused would leave it open
            ToonSession(
                self.toonifier,
                self.landmarker,
                style=self.style,
                composer=composer,
                smoothing=smoothing,
                codes=codes,
            ) as session,
        ):
            return toonify_video(source, target(source), session, progress=progress, cancel=self.cancel, **options)


def video_landmarker(option: str) -> Landmarker:
    """As ``landmarker_from_option``, and "prealigned" for frames that are aligned faces."""
    return prealigned_landmarker if option == "prealigned" else landmarker_from_option(option)


def composer_of(look: Look) -> Composer:
    """What ``--output-style`` names."""
    composers: dict[Look, Composer] = {"paste": Paste(), "crop": FirstFace(), "side-by-side": SideBySide()}
    return composers[look]


def size_of(look: Look, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what ``composer_of`` makes of frames of ``size``."""
    if look == "crop":
        return (FirstFace().size, FirstFace().size)
    return (2 * size[0], size[1]) if look == "side-by-side" else size


def before_and_after(look: Look, size: tuple[int, int]) -> Composer:
    """The frame on the left, and on the right what ``look`` shows, as high as the frame."""
    return SideBySide(FirstFace(size[1]) if look == "crop" else Paste())


@contextmanager
def cancelled_by_signals() -> Iterator[Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second signal ends the block by KeyboardInterrupt."""
    cancel = Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
