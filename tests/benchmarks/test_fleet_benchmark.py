"""Faults in a fleet behind an edge: a quick run, its rows and table."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from edges import needs_envoy

from benchmarks.chaos.fleet_report import table
from benchmarks.chaos.fleet_rows import FLEET, FleetRow
from benchmarks.generated import DEPLOY_README, with_section
from benchmarks.records import read_records

ROOT = Path(__file__).parents[2]
ROW = FleetRow(
    run="2026-01-01T00:00:00Z",
    commit="0123456789ab",
    fault="Envoy killed",
    replicas=2,
    tries=4,
    calls=10_000,
    failed=1,
    recovered_s=0.5,
    p95_before_ms=40,
    p95_during_ms=100,
    longest_ms=2000,
)


def test_the_table_shows_the_last_run_alone() -> None:
    text = table([ROW, replace(ROW, run="2026-01-02T00:00:00Z", failed=0)])
    assert "| Envoy killed | 2 | 4 | 0 of 10000 | 0.5 | 40 | 100 | 2.5 | 2000 |\n" in text
    assert text.count("Envoy") == 1


def test_the_readme_shows_the_recorded_run() -> None:
    text = DEPLOY_README.read_text()
    assert with_section(text, "benchmarks.chaos.fleet_report", table(read_records(FLEET, FleetRow))) == text


@needs_envoy
@pytest.mark.triton
def test_in_a_quick_run_no_call_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos.fleet_command", "--quick", "--results", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    (row,) = read_records(tmp_path / FLEET.name, FleetRow)
    assert (row.replicas, row.fault) == (2, "a model's process killed (SIGKILL)")
    assert row.failed == 0
    assert row.calls >= 60
    assert row.p95_during_ms > 0
