"""``python -m benchmarks.latency``: measure, and append the rows to the CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.chain import LARGEST_BATCH
from benchmarks.latency.command import console, measure, numbers, progress_bar, run_command, steps_of
from benchmarks.latency.conditions import STAGES, groups_for
from benchmarks.latency.measure import Plan
from benchmarks.latency.preparation import prepare_elsewhere
from benchmarks.latency.rows import RESULTS
from benchmarks.networks import FULL, TINY, models_for


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
    with progress_bar(steps_of(plan, groups)) as step:
        measure(plan, groups, results, step)
    console.print(f"Rows are in {results}; tables and plots: python -m benchmarks.latency.report")


if __name__ == "__main__":
    run_command(benchmark)
