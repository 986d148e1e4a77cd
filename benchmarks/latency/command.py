"""Common parts of the benchmarks' commands: parsing of options, a progress bar, a line about every row."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.latency.cases import Group
from benchmarks.latency.measure import LatencyOptions, LatencyRun
from benchmarks.latency.rows import LatencyRow, append_rows
from serving.command_line import run

console = Console(stderr=True, highlight=False, soft_wrap=True)

Step = Callable[[str], None]


def numbers(text: str, largest: int) -> list[int]:
    """Parse a list of numbers from 1 to ``largest``: "1,2,4" -> [1, 2, 4]."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= largest for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of numbers from 1 to {largest}, such as 1,2,4")
    return [int(part) for part in parts]


@contextmanager
def progress_bar(total: int) -> Iterator[Step]:
    """Yield a function to call with a phrase at the start of each of ``total`` steps."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        started = 0

        def step(phrase: str) -> None:
            nonlocal started
            progress.update(task, completed=started, description=phrase)
            started += 1

        yield step
        progress.update(task, completed=total, description=f"done at {time.strftime('%H:%M:%S')}")


def steps_of(options: LatencyOptions, groups: Sequence[Group]) -> int:
    """Number of steps in a measurement of these groups: every case is loaded once, then timed in every round."""
    return sum(len(group.cases) for group in groups) * (1 + options.rounds)


def measure(options: LatencyOptions, groups: Sequence[Group], results: Path, step: Step) -> None:
    """Measure the groups one after the other, and append each one's rows."""
    latency_run = LatencyRun(options)

    def keep(rows: list[LatencyRow]) -> None:
        append_rows(results, rows)
        for row in rows:
            console.print(summary(row), markup=False)

    for group in groups:
        latency_run.measure(group, step, keep)


def summary(row: LatencyRow) -> str:
    """One line about a row."""
    name = f"{row.stage} {row.resolution}, {row.engine}, {row.precision}, batch {row.batch}, {row.in_flight} in flight"
    if row.p50_ms is None:
        return f"{name}: {row.status}; {row.reason}"
    return f"{name}: {row.p50_ms:.4g} ms ({row.p5_ms:.4g} to {row.p95_ms:.4g}, n {row.n}), {row.status}"


def run_command(command: Callable[..., Any]) -> None:
    """Run a function as a command-line program; SIGTERM interrupts it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    run(app)
