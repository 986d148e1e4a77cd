"""Reports of a run's progress: for a person at a terminal, for a program, or for a log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Protocol

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from engines.contract.errors import ToonifyError
from serving.video.pipeline import VideoProgress, VideoReport

ProgressStyle = Literal["auto", "bar", "json", "none"]

_SECONDS_BETWEEN_LINES = 0.5


class Reporter(Protocol):
    """Receives the events of a command's targets, which are made one after the other."""

    def skipped(self, target: Path) -> None: ...

    def started(self, target: Path) -> None: ...

    def progress(self, progress: VideoProgress) -> None: ...

    def finished(self, target: Path, report: VideoReport) -> None: ...

    def failed(self, target: Path, error: ToonifyError) -> None: ...


class LineReporter:
    """Writes the paths of finished targets to stdout, and everything else to stderr."""

    def skipped(self, target: Path) -> None:
        sys.stderr.write(f"skipped: {target} exists already; give --force to replace it\n")

    def started(self, target: Path) -> None: ...

    def progress(self, progress: VideoProgress) -> None: ...

    def finished(self, target: Path, report: VideoReport) -> None:
        if report.cancelled:
            sys.stderr.write(f"cancelled: {target} was not written\n")
        else:
            sys.stdout.write(f"{target}\n")
            if report.notes:
                sys.stderr.write(f"note: {target} lacks {'; '.join(report.notes)}\n")

    def failed(self, target: Path, error: ToonifyError) -> None:
        sys.stderr.write(f"error: {error}\n")


class BarReporter(LineReporter):
    """Adds to ``LineReporter`` a bar with speed, remaining time and the milliseconds of every step."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def started(self, target: Path) -> None:
        self._task = self._bar.add_task(target.name, total=None, details="starting")

    def progress(self, progress: VideoProgress) -> None:
        self._bar.update(self._task, completed=progress.frames, total=progress.total, details=_details(progress))

    def finished(self, target: Path, report: VideoReport) -> None:
        self._bar.remove_task(self._task)
        super().finished(target, report)

    def failed(self, target: Path, error: ToonifyError) -> None:
        self._bar.remove_task(self._task)
        super().failed(target, error)


class JsonLinesReporter:
    """Writes JSON Lines to stdout: ``event`` is begun, progress, finished, cancelled, skipped or failed."""

    def __init__(self) -> None:
        self._target = ""
        self._last = 0.0

    def skipped(self, target: Path) -> None:
        _write_event("skipped", target)

    def started(self, target: Path) -> None:
        self._target = str(target)
        _write_event("begun", target)

    def progress(self, progress: VideoProgress) -> None:
        if monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = monotonic()
            _write_event("progress", self._target, **_numbers(progress))

    def finished(self, target: Path, report: VideoReport) -> None:
        _write_event("cancelled" if report.cancelled else "finished", target, **_numbers(report))

    def failed(self, target: Path, error: ToonifyError) -> None:
        _write_event("failed", target, error=str(error))


@contextmanager
def reporter(style: ProgressStyle) -> Iterator[Reporter]:
    """Yield the reporter of ``--progress``; "auto" shows a bar on a terminal, and none elsewhere."""
    console = Console(stderr=True)
    if style == "json":
        yield JsonLinesReporter()
    elif style == "bar" or (style == "auto" and console.is_terminal):
        columns = (TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn())
        details = TextColumn("{task.fields[details]}", markup=False)
        # Paths on stdout are printed above the bar if both are on one terminal; a pipe must receive them directly.
        with Progress(*columns, details, console=console, redirect_stdout=sys.stdout.isatty()) as bar:
            yield BarReporter(bar)
    else:
        yield LineReporter()


def stage_table(report: VideoProgress) -> Group:
    """Return a table of each step's milliseconds per frame, and a line about the whole run.

    Steps overlap, and batches in flight too, so that the sum of the steps exceeds the run's time.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("ms per frame", justify="right")
    for stage, seconds in (*report.stages.items(), ("elapsed", report.seconds)):
        table.add_row(stage, f"{_ms_per_frame(seconds, report):.1f}")
    faces = f"{report.faces} with a face, {report.dropped} dropped"
    # A caption of the table would be wrapped at the table's width.
    return Group(table, Text(f"{report.frames} frames, {faces}, {report.fps:.1f} frames per second"))


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


def _write_event(event: str, target: Path | str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, "target": str(target), **fields}) + "\n")
    sys.stdout.flush()
