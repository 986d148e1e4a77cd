"""``python -m benchmarks.chaos``: does every fault to a server under load, and appends a row for each."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import machine
from benchmarks.chaos.faults import QUICK, Plan, faults
from benchmarks.chaos.rows import CHAOS, ChaosRow
from benchmarks.latency.command import console, run_command
from benchmarks.records import RESULTS_FOLDER, append_records, check_results, last_run, read_records


def chaos(
    repository: Annotated[Path, typer.Option(help="What to serve; make demo writes the default.")] = Path(
        "build/demo/model_repository"
    ),
    kills: Annotated[int, typer.Option(min=1, help="Kills of each process.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Each fault once: only checks that it runs.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run, after its last row.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the CSV file.")] = RESULTS_FOLDER,
) -> None:
    """Kill, stop, fill and flood a server under load."""
    check_results(results, RESULTS_FOLDER, quick=quick)
    common: dict[str, Any] = {"run": machine.now(), "commit": machine.commit(), "device": machine.device()}
    common["served"] = _served(repository)
    done = last_run(read_records(results / CHAOS.name, ChaosRow)) if resume else []
    if done:
        common["run"] = done[0].run
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        for fault in islice(faults(repository, Path(folder), QUICK if quick else Plan(kills=kills)), len(done), None):
            row = ChaosRow(**common, **fault())
            append_records(results / CHAOS.name, ChaosRow, [row])
            console.print(
                f"{row.fault}: {row.tries} tries, noticed after {row.noticed_s} s, served after {row.served_s} s, "
                f"{row.answered} answered, {row.refused} refused, {row.lost} lost, "
                f"{row.mib_before} to {row.mib_after} MiB",
                markup=False,
            )
    console.print(f"Rows are in {results}; table: python -m benchmarks.chaos.report")


def _served(repository: Path) -> str:
    folders = [path.parent for path in repository.glob("*/1/model.py")]
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir() if path.is_file())
    return f"{len(folders)} python models, {size / 2**20:.1f} MiB"


if __name__ == "__main__":
    run_command(chaos)
