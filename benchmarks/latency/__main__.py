"""``python -m benchmarks.latency``: measures latencies, and appends the rows to the CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.latency.cases import STAGES, groups_for
from benchmarks.latency.command import console, measure, numbers, progress_bar, run_command, steps_of
from benchmarks.latency.measure import LatencyOptions
from benchmarks.latency.preparation import prepare_in_subprocess
from benchmarks.latency.rows import RESULTS
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.records import check_results
from benchmarks.reference import LARGEST_BATCH


def stages_in(text: str) -> list[str]:
    """Parse a list of stages: "generator,roof" -> ["generator", "roof"]."""
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set(STAGES):
        raise typer.BadParameter(f"{text!r} is not a list of stages; they are {', '.join(STAGES)}")
    return parts


def benchmark(
    batches: Annotated[str, typer.Option(help="Batch sizes, up to 8.")] = "1,2,4,8",
    in_flight: Annotated[str, typer.Option(help="Requests in flight to the ensemble, at batch 1.")] = "1,2,3,4,5,6,7,8",
    only: Annotated[str, typer.Option(help="Stages to measure.")] = ",".join(STAGES),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in each of which every case is timed.")] = 5,
    seconds_per_condition: Annotated[float, typer.Option(min=0, help="Timed seconds of a case, all rounds.")] = 15.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Include torch.compile.")] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny networks, one call each, no torch.compile: only checks that it runs.")
    ] = False,
    models: Annotated[Path, typer.Option(help="Folder for exported models, reused by later runs.")] = Path(
        "build/benchmarks"
    ),
    results: Annotated[Path, typer.Option(help="CSV to which the rows are appended.")] = RESULTS,
) -> None:
    """Measure the latency of every stage and of the whole service, and of what a user would run instead.

    The cases of a group alternate, so that a disturbance affects all of them. Ctrl-C keeps what has been measured.
    """
    sizes, flights, chosen = numbers(batches, LARGEST_BATCH), numbers(in_flight, 64), stages_in(only)
    check_results(results, RESULTS, quick=quick)
    built = models_for(TINY if quick else FULL, models)
    prepare_in_subprocess(built, chosen)
    groups = groups_for(built, sizes, flights, chosen, compiled=compiled and not quick)
    options = LatencyOptions(built, 1, 0) if quick else LatencyOptions(built, rounds, seconds_per_condition)
    with progress_bar(steps_of(options, groups)) as step:
        measure(options, groups, results, step)
    console.print(f"Rows are in {results}; tables and plots: python -m benchmarks.latency.report")


if __name__ == "__main__":
    run_command(benchmark)
