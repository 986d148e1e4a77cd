"""``python -m benchmarks.chaos.fleet_command``: does every fault to fleets under load, and appends a row for each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import machine
from benchmarks.chaos.fleet import QUICK, FleetPlan, fleet_faults
from benchmarks.chaos.fleet_rows import FLEET, FleetRow
from benchmarks.chaos.stand_ins import write_stand_ins
from benchmarks.latency.command import console, run_command
from benchmarks.records import RESULTS_FOLDER, append_records, check_results


def chaos_fleet(
    calls: Annotated[int, typer.Option(min=16, help="Calls for each fault.")] = FleetPlan.calls,
    quick: Annotated[bool, typer.Option("--quick", help="One fault, once: only checks that it runs.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the CSV file.")] = RESULTS_FOLDER,
) -> None:
    """Break two and three servers behind an edge, one after the other, under load."""
    check_results(results, RESULTS_FOLDER, quick=quick)
    common: dict[str, Any] = {"run": machine.now(), "commit": machine.commit(), "device": machine.device()}
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        write_stand_ins(Path(folder) / "repository")
        for fault in fleet_faults(
            Path(folder) / "repository", Path(folder), QUICK if quick else FleetPlan(calls=calls)
        ):
            row = FleetRow(**common, **fault())
            append_records(results / FLEET.name, FleetRow, [row])
            console.print(
                f"{row.replicas} servers, {row.fault}: {row.failed} of {row.calls} failed, recovered after "
                f"{row.recovered_s:.3g} s, p95 {row.p95_before_ms:.0f} to {row.p95_during_ms:.0f} ms {row.example}",
                markup=False,
            )
    console.print(f"Rows are in {results}; table: python -m benchmarks.chaos.fleet_report")


if __name__ == "__main__":
    run_command(chaos_fleet)
