"""What an edge adds to the time of a request: a short run, and the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edges import needs_envoy

from benchmarks.edge import DIRECT, ENCRYPTED, PLAIN, REQUESTS, RESULTS, EdgeRow, table
from benchmarks.generated import DEPLOY_README, with_section
from benchmarks.records import read_records

ROOT = Path(__file__).parents[2]


def rows(run: str) -> list[EdgeRow]:
    medians = {DIRECT: "1 2", PLAIN: "1.25 2.75", ENCRYPTED: "2 4"}
    return [
        EdgeRow(run, "0123456789ab", "a processor", request, way, 200, 1.5, 3.0, text)
        for request in REQUESTS
        for way, text in medians.items()
    ]


def test_the_table_shows_the_differences_of_the_last_run_round_by_round() -> None:
    text = table([*rows("2026-01-01T00:00:00Z"), *rows("2026-01-02T00:00:00Z")])
    assert "| empty (ServerLive) | 1.5 | 0.50 (0.25 to 0.75) | 1.50 (1.00 to 2.00) |\n" in text
    assert text.count("empty") == 1


def test_the_page_shows_the_recorded_run() -> None:
    text = DEPLOY_README.read_text()
    assert with_section(text, "benchmarks.edge", table(read_records(RESULTS, EdgeRow))) == text


@needs_envoy
@pytest.mark.triton
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_short_run_measures_every_request_on_every_way(tmp_path: Path) -> None:
    results = tmp_path / "edge.csv"
    command = [sys.executable, "-m", "benchmarks.edge", "--rounds", "2", "--calls", "3", "--results", results]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    measured = read_records(results, EdgeRow)
    assert {(row.request, row.way) for row in measured} == {
        (request, way) for request in REQUESTS for way in (DIRECT, PLAIN, ENCRYPTED)
    }
    assert all(row.n == 6 and row.p50_ms > 0 for row in measured)
