"""Reports of a run's progress: for a person at a terminal, for a program, or for a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from engines.contract.errors import ToonifyError
from serving import reporting
from serving.command_line import print_table, shows_bars
from serving.reporting import ProgressStyle, bar_on
from serving.video.pipeline import VideoProgress, VideoReport

_SECONDS_BETWEEN_LINES = 0.5


class Reporter(reporting.Reporter[VideoReport], Protocol):
    """Receives the events of a command's targets, which are made one after the other."""

    def progress(self, progress: VideoProgress) -> None: ...


class LineReporter(reporting.LineReporter[VideoReport]):
    """Adds to the lines of all jobs those that are cancelled."""

    def progress(self, progress: VideoProgress) -> None: ...

    def finished(self, target: Path, result: VideoReport) -> None:
        if result.cancelled:
            sys.stderr.write(f"cancelled: {target} was not written\n")
        else:
            super().finished(target, result)
            if result.remarks:
                sys.stderr.write(f"note: faces of {target}, counted in each frame: {', '.join(result.remarks)}\n")
            if result.notes:
                sys.stderr.write(f"note: {target} lacks {'; '.join(result.notes)}\n")


class BarReporter(LineReporter):
    """Adds to ``LineReporter`` a bar with speed, remaining time and the milliseconds of every step."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def started(self, target: Path) -> None:
        self._task = self._bar.add_task(target.name, total=None, details="starting")

    def progress(self, progress: VideoProgress) -> None:
        self._bar.update(self._task, completed=progress.frames, total=progress.total, details=_details(progress))

    def finished(self, target: Path, result: VideoReport) -> None:
        self._bar.remove_task(self._task)
        super().finished(target, result)

    def failed(self, target: Path, error: ToonifyError) -> None:
        self._bar.remove_task(self._task)
        super().failed(target, error)


class JsonLinesReporter(reporting.JsonLinesReporter[VideoReport]):
    """Adds to the events of all jobs ``progress`` and ``cancelled``, and to ``finished`` the numbers of the report."""

    def __init__(self) -> None:
        self._target = Path()
        self._last = 0.0

    def started(self, target: Path) -> None:
        self._target = target
        super().started(target)

    def progress(self, progress: VideoProgress) -> None:
        if monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = monotonic()
            reporting.write_event("progress", self._target, **_numbers(progress))

    def finished(self, target: Path, result: VideoReport) -> None:
        reporting.write_event("cancelled" if result.cancelled else "finished", target, **_numbers(result))


@contextmanager
def reporter(style: ProgressStyle) -> Iterator[Reporter]:
    """Yield the reporter of ``--progress``; "auto" shows a bar on a terminal, and none elsewhere."""
    console = Console(stderr=True)
    if style == "json":
        yield JsonLinesReporter()
    elif style == "bar" or (style == "auto" and shows_bars(console)):
        details = TextColumn("{task.fields[details]}", markup=False)
        with bar_on(console, BarColumn(20), MofNCompleteColumn(), details) as bar:
            yield BarReporter(bar)
    else:
        yield LineReporter()


def print_stages(report: VideoProgress) -> None:
    """Print each step's milliseconds per frame to stderr; steps overlap, so their sum exceeds the run's time."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("ms per frame", justify="right")
    for stage, seconds in (*report.stages.items(), ("elapsed", report.seconds)):
        table.add_row(stage, f"{_ms_per_frame(seconds, report):.1f}")
    print_table(table, stderr=True)
    # A table's caption would be wrapped to its 21 columns.
    faces = f"{report.faces} with a face, {report.dropped} dropped"
    sys.stderr.write(f"{report.frames} frames, {faces}, {report.fps:.1f} frames per second\n")


def _details(progress: VideoProgress) -> str:
    left = "" if progress.remaining is None else f", {_hours_minutes_seconds(progress.remaining)} to go"
    steps = (f"{stage} {_ms_per_frame(seconds, progress):.0f}" for stage, seconds in progress.stages.items())
    return f"{progress.fps:.1f} fps{left}; ms: {' '.join(steps)}"


def _ms_per_frame(seconds: float, progress: VideoProgress) -> float:
    return 1000 * seconds / max(progress.frames, 1)


def _hours_minutes_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _numbers(progress: VideoProgress) -> dict[str, Any]:
    fields = {name: value for name, value in vars(progress).items() if name != "cancelled"}
    return {**fields, "fps": progress.fps, "remaining": progress.remaining}
