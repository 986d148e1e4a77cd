"""``python -m benchmarks.growth``: measures how time and memory grow, and how long a server takes to start."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine
from benchmarks.growth.live import CASES, CASES_OF_SMALL_PICTURES, ROUNDS, LiveRun
from benchmarks.growth.live_models import build_live
from benchmarks.growth.live_rows import LIVE, LiveRow
from benchmarks.growth.results import GROWTH
from benchmarks.growth.start_rows import STARTS, StartRow
from benchmarks.growth.starts import measure_starts, start_cases
from benchmarks.latency.cases import batch_group, resolution_group
from benchmarks.latency.command import console, measure, numbers, progress_bar, run_command, steps_of
from benchmarks.latency.measure import LatencyOptions
from benchmarks.latency.preparation import in_subprocess, prepare_in_subprocess
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.records import RESULTS_FOLDER, append_records, check_results
from benchmarks.reference import LARGEST_BATCH

PARTS = ("resolution", "batch", "starts", "live")


def growth(
    only: Annotated[str, typer.Option(help=f"Parts to measure: {', '.join(PARTS)}.")] = ",".join(PARTS),
    batches: Annotated[str, typer.Option(help="Batch sizes, up to 8.")] = "1,2,4,8",
    blends: Annotated[int, typer.Option(min=1, help="Serve 1 to this many blends.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in each of which every case is timed.")] = 2,
    seconds_per_condition: Annotated[float, typer.Option(min=0, help="Timed seconds of a case, all rounds.")] = 4.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny networks, one call each: only checks that it runs.")
    ] = False,
    models: Annotated[Path, typer.Option(help="Folder for exported models, reused by later runs.")] = Path(
        "build/benchmarks"
    ),
    results: Annotated[Path, typer.Option(help="Folder of the CSV files.")] = RESULTS_FOLDER,
) -> None:
    """Measure how time and memory grow with resolution, batch and blends, and how long a server takes to start.

    A live model is measured beside exported blends.

    The cases alternate, so that a disturbance affects all of them. Ctrl-C keeps what has been measured.
    """
    sizes, parts = numbers(batches, LARGEST_BATCH), only.split(",")
    if not set(parts) <= set(PARTS):
        raise typer.BadParameter(f"{only!r} is not a list of parts; they are {', '.join(PARTS)}")
    check_results(results, RESULTS_FOLDER, quick=quick)
    built = models_for(TINY if quick else FULL, models)
    largest = built.scale.geometry.resolution
    resolutions = (largest // 2, largest) if quick else (largest // 4, largest // 2, largest)
    lives = [(built, CASES), (built.at(resolutions[0]), CASES_OF_SMALL_PICTURES)] if "live" in parts else []
    for pair, _ in lives:
        in_subprocess(partial(build_live, pair))
    sizes_to_prepare = () if parts == ["live"] else resolutions if "resolution" in parts else (largest,)
    for resolution in sizes_to_prepare:
        whole = ("ensemble",) if resolution == largest else ("pipeline",)
        prepare_in_subprocess(built.at(resolution), whole)
    options = LatencyOptions(built, 1, 0) if quick else LatencyOptions(built, rounds, seconds_per_condition)
    groups = [resolution_group(built, resolutions)] if "resolution" in parts else []
    groups += [batch_group(built, sizes)] if "batch" in parts else []
    starts = start_cases(blends) if "starts" in parts else []
    live_rounds, live_run = ROUNDS * options.rounds, machine.now()
    live_steps = sum(len(cases) for _, cases in lives) * (1 + live_rounds)
    with progress_bar(steps_of(options, groups) + len(starts) * options.rounds + live_steps) as step:
        measure(options, groups, results / GROWTH.name, step)
        if starts:
            append = partial(append_records, results / STARTS.name, StartRow)
            measure_starts(built, starts, options.rounds, 1 if quick else 2, step, append)
        for pair, cases in lives:
            keep = partial(append_records, results / LIVE.name, LiveRow)
            LiveRun(pair, cases, live_rounds, live_run).measure(step, keep)
    console.print(f"Rows are in {results}; tables and plots: python -m benchmarks.growth.report")


if __name__ == "__main__":
    run_command(growth)
