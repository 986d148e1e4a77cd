"""``python -m benchmarks``: measure, and append the rows to the CSV."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.chain import LARGEST_BATCH
from benchmarks.conditions import STAGES, Group, groups_for
from benchmarks.measure import Plan, Run
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.preparation import prepare_elsewhere
from benchmarks.rows import RESULTS, Row, append_rows
from serving.command_line import run

console = Console(stderr=True, highlight=False, soft_wrap=True)


def numbers(text: str, largest: int) -> list[int]:
    """ "1,2,4" -> [1, 2, 4]."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= largest for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of numbers 1 to {largest}, such as 1,2,4")
    return [int(part) for part in parts]


def names(text: str) -> list[str]:
    """ "generator,roof" -> ["generator", "roof"]."""
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set(STAGES):
        raise typer.BadParameter(f"{text!r} is not a list of stages; they are {', '.join(STAGES)}")
    return parts


def benchmark(
    batches: Annotated[str, typer.Option(help="Batch sizes, up to 8.")] = "1,2,4,8",
    in_flight: Annotated[str, typer.Option(help="Requests in flight to the ensemble, at batch 1.")] = "1,2,3,4,5,6,7,8",
    only: Annotated[str, typer.Option(help="Stages to measure.")] = ",".join(STAGES),
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every condition.")] = 5,
    seconds_per_condition: Annotated[float, typer.Option(min=0, help="Time for all turns of a condition.")] = 15.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Include torch.compile.")] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny networks, one call each, no torch.compile: does it work?")
    ] = False,
    models: Annotated[Path, typer.Option(help="Folder for exported models, reused by later runs.")] = Path(
        "build/benchmarks"
    ),
    results: Annotated[Path, typer.Option(help="CSV to which the rows are appended.")] = RESULTS,
) -> None:
    """Measure the latency of every stage and of the whole service, beside what a user would run instead.

    The conditions of a group take turns, so that a disturbance hits all of them. Ctrl-C keeps what is measured.
    """
    sizes, flights, chosen = numbers(batches, LARGEST_BATCH), numbers(in_flight, 64), names(only)
    if quick and results == RESULTS:
        raise typer.BadParameter("a quick run's times mean nothing: give --results another file")
    built = models_for(TINY if quick else FULL, models)
    prepare_elsewhere(built, chosen)
    groups = groups_for(built, sizes, flights, chosen, compiled=compiled and not quick)
    plan = Plan(built, 1, 0) if quick else Plan(built, rounds, seconds_per_condition)
    _measure(plan, groups, results)
    console.print(f"Rows are in {results}; tables and plots: python -m benchmarks.report")


def _measure(plan: Plan, groups: Sequence[Group], results: Path) -> None:
    started = Run(plan)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        total = sum(len(group.conditions) for group in groups) * (1 + plan.rounds)
        task = progress.add_task("", total=total)
        begun = 0

        def step(phrase: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=phrase)
            begun += 1

        def keep(rows: list[Row]) -> None:
            append_rows(results, rows)
            for row in rows:
                progress.console.print(summary(row), markup=False)

        for group in groups:
            started.measure(group, step, keep)
        progress.update(task, completed=total, description=f"done at {time.strftime('%H:%M:%S')}")


def summary(row: Row) -> str:
    """One line about a row."""
    name = f"{row.stage}, {row.engine}, {row.precision}, batch {row.batch}, {row.in_flight} in flight"
    if row.p50_ms is None:
        return f"{name}: {row.status}; {row.reason}"
    return f"{name}: {row.p50_ms:.4g} ms ({row.p5_ms:.4g} to {row.p95_ms:.4g}, n {row.n}), {row.status}"


def main() -> None:
    """Run the command; SIGTERM interrupts it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(benchmark)
    run(app)


if __name__ == "__main__":
    main()
