"""``python -m benchmarks.growth``: how time and memory grow with resolution, batch and blends; how a server starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.chain import LARGEST_BATCH
from benchmarks.growth.results import GROWTH
from benchmarks.growth.start_rows import STARTS, Start
from benchmarks.growth.starts import measure_starts, ways
from benchmarks.latency.command import console, measure, numbers, progress_bar, run_command, steps_of
from benchmarks.latency.conditions import batch_group, resolution_group
from benchmarks.latency.measure import Plan
from benchmarks.latency.preparation import prepare_elsewhere
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.records import RESULTS_FOLDER, append_records

PARTS = ("resolution", "batch", "starts")


def growth(
    only: Annotated[str, typer.Option(help=f"Parts to measure: {', '.join(PARTS)}.")] = ",".join(PARTS),
    batches: Annotated[str, typer.Option(help="Batch sizes, up to 8.")] = "1,2,4,8",
    blends: Annotated[int, typer.Option(min=1, help="Serve 1 to this many blends.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every condition, starts of every kind.")] = 2,
    seconds_per_condition: Annotated[float, typer.Option(min=0, help="Time for all turns of a condition.")] = 4.0,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny networks, one call each: does it work?")] = False,
    models: Annotated[Path, typer.Option(help="Folder for exported models, reused by later runs.")] = Path(
        "build/benchmarks"
    ),
    results: Annotated[Path, typer.Option(help="Folder of the CSV files.")] = RESULTS_FOLDER,
) -> None:
    """Measure how time and memory grow with resolution, batch and blends, and how long a server takes to start.

    Conditions take turns, so that a disturbance hits all of them. Ctrl-C keeps what is measured.
    """
    sizes, parts = numbers(batches, LARGEST_BATCH), only.split(",")
    if not set(parts) <= set(PARTS):
        raise typer.BadParameter(f"{only!r} is not a list of parts; they are {', '.join(PARTS)}")
    if quick and results == RESULTS_FOLDER:
        raise typer.BadParameter("a quick run's times mean nothing: give --results another folder")
    built = models_for(TINY if quick else FULL, models)
    largest = built.scale.geometry.resolution
    resolutions = (largest // 2, largest) if quick else (largest // 4, largest // 2, largest)
    for resolution in resolutions if "resolution" in parts else (largest,):
        whole = ("ensemble",) if resolution == largest else ("pipeline",)
        prepare_elsewhere(built.at(resolution), whole)
    plan = Plan(built, 1, 0) if quick else Plan(built, rounds, seconds_per_condition)
    groups = [resolution_group(built, resolutions)] if "resolution" in parts else []
    groups += [batch_group(built, sizes)] if "batch" in parts else []
    starts = ways(blends) if "starts" in parts else []
    with progress_bar(steps_of(plan, groups) + len(starts) * plan.rounds) as step:
        measure(plan, groups, results / GROWTH.name, step)
        if starts:
            append = partial(append_records, results / STARTS.name, Start)
            measure_starts(built, starts, plan.rounds, 1 if quick else 2, step, append)
    console.print(f"Rows are in {results}; tables and plots: python -m benchmarks.growth.report")


if __name__ == "__main__":
    run_command(growth)
