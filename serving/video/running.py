"""The runs of a command: one video after the other, with one toonifier and one reporter."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Literal

from serving.command_line import termination_signals
from serving.controls import Style
from serving.faces.following import following
from serving.faces.landmarks import Landmarker
from serving.job_runs import run_jobs
from serving.jobs import Job
from serving.options import landmarker_from_option
from serving.patience import Patience
from serving.toonifier import Toonifier
from serving.video.composing import Composer, FirstFace, Paste, SideBySide
from serving.video.pipeline import VideoReport
from serving.video.prealigned import prealigned_landmarker
from serving.video.reporting import Reporter, print_stages
from serving.video.session import Smoothing, StyleByTime, ToonSession
from serving.video.stability import ROW_WEIGHTS
from serving.video.tracking import Tracking

OutputStyle = Literal["paste", "crop", "side-by-side"]


class Cancellation(Event):
    """An event that a signal sets."""

    signal_number: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """The exit code of a command that the signal ended."""
        return 128 + self.signal_number


@dataclass(frozen=True)
class Runner:
    """Shared by all videos of one command; ``cancel`` ends the current run and those that would follow.

    ``tracking`` and ``leave_far`` say which faces are left alone.
    """

    toonifier: Toonifier
    landmarker: Landmarker
    style: Style
    reporter: Reporter
    cancel: Cancellation
    stats: bool = False
    tracking: Tracking = field(default_factory=Tracking)
    leave_far: bool = False

    def run_all(
        self,
        jobs: Sequence[Job],
        run: Callable[[Path, Path], VideoReport],
        *,
        skip_existing: bool,
        patience: Patience | None = None,
    ) -> bool:
        """Run every job as ``run_jobs`` does; return whether all were started, and none failed or was cancelled."""
        reports: list[VideoReport] = []

        def reported(video: Path, target: Path) -> VideoReport:
            report = run(video, target)
            reports.append(report)
            if self.stats:
                print_stages(report)
            return report

        started = run_jobs(
            jobs,
            reported,
            self.reporter,
            skip_existing=skip_existing,
            cancelled=self.cancel.is_set,
            patience=patience,
        )
        return started and not any(report.cancelled for report in reports)

    def session(self, composer: Composer, smoothing: Smoothing, style: StyleByTime | None = None) -> ToonSession:
        """Make a session for one video; the smoothing "off" also turns off the smoothing of codes.

        ``style`` replaces that of all videos.
        """
        return ToonSession(
            self.toonifier,
            following(self.landmarker),
            style=style or self.style,
            composer=composer,
            smoothing=smoothing,
            codes=None if smoothing == "off" else ROW_WEIGHTS,
            tracking=self.tracking,
            leave_far=self.leave_far,
        )


def video_landmarker(option: str) -> Landmarker:
    """Make the landmarker of ``--align``; "none" is for frames that are aligned faces."""
    return prealigned_landmarker if option == "none" else landmarker_from_option(option)


def composer_of(output_style: OutputStyle, crop_size: Callable[[], int], paste: Paste) -> Composer:
    """Make the composer of ``--output-style``; ``crop_size`` is called only for "crop"."""
    if output_style == "crop":
        return FirstFace(crop_size())
    return SideBySide(paste) if output_style == "side-by-side" else paste


def before_and_after(output_style: OutputStyle, size: tuple[int, int], paste: Paste) -> Composer:
    """Make the composer of a preview: the frame on the left, what ``output_style`` shows on the right."""
    return SideBySide(FirstFace(size[1]) if output_style == "crop" else paste)


@contextmanager
def cancelled_by_signals() -> Iterator[Cancellation]:
    """Yield an event that Ctrl-C, SIGTERM or SIGHUP sets; a second signal ends the block by KeyboardInterrupt."""
    cancel = Cancellation()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.signal_number = number
        cancel.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, *termination_signals())}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
