"""The faults under load: a whole quick run with tiny models, its rows and table."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from served_repository import small_repository
from tiny_models import TinyModels

from benchmarks.chaos.load import Outcome
from benchmarks.chaos.report import table
from benchmarks.chaos.rows import CHAOS, ChaosRow
from benchmarks.generated import SERVER_README, with_section
from benchmarks.records import read_records

ROOT = Path(__file__).parents[2]
ROW = ChaosRow("2026-01-01T00:00:00Z", "0123456789ab", "SIGKILL of x", 3, 0.01, 7.5, 500, 40, 8, device="a processor")


@pytest.mark.parametrize(
    ("error", "refused", "lost"),
    [
        ("", False, False),
        ("[StatusCode.NOT_FOUND] Request for unknown model: 'toonify' has no available versions", True, False),
        ("[StatusCode.UNAVAILABLE] failed to connect to all addresses", True, False),
        ("[StatusCode.UNAVAILABLE] in ensemble 'toonify', Server is stopping", False, True),
        ("[StatusCode.DEADLINE_EXCEEDED] Deadline Exceeded", False, True),
    ],
)
def test_a_request_is_answered_refused_or_lost(error: str, refused: bool, lost: bool) -> None:
    outcome = Outcome(0, 1, error)
    assert (outcome.refused, outcome.lost) == (refused, lost)


def test_the_table_shows_the_last_run_alone() -> None:
    soak = replace(
        ROW, run="2026-01-02T00:00:00Z", fault="load", noticed_s=None, served_s=None, mib_before=900, mib_after=901
    )
    text = table([ROW, replace(soak, fault="SIGKILL of x", noticed_s=0.01, served_s=7.5, mib_before=None), soak])
    assert "| SIGKILL of x | 3 | 0.01 | 7.5 | 500 | 40 | 8 |  |\n| load | 3 |  |  | 500 | 40 | 8 | 900, 901 |\n" in text
    assert text.count("SIGKILL") == 1


def test_the_readme_shows_the_recorded_run() -> None:
    text = SERVER_README.read_text()
    assert with_section(text, "benchmarks.chaos.report", table(read_records(CHAOS, ChaosRow))) == text


@pytest.mark.triton
def test_a_quick_run_does_every_fault(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    command = [sys.executable, "-m", "benchmarks.chaos", "--quick", "--repository", repository, "--results", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    rows = {row.fault: row for row in read_records(tmp_path / CHAOS.name, ChaosRow)}
    kills = [row for fault, row in rows.items() if fault.startswith("SIGKILL")]
    assert len(kills) == 2  # a python model and the server
    assert all(row.served_s is not None and row.answered for row in kills)
    stops = [row for fault, row in rows.items() if fault.startswith("SIGTERM")]
    assert [row.lost for row in stops] == [0, 0]
    full = {fault.partition(",")[0]: row for fault, row in rows.items() if fault.startswith("no room")}
    assert full.keys() == {f"no room {place}" for place in ("for the log", "for temporary files", "in /dev/shm")}
    assert all(row.answered for row in full.values())
    assert full["no room in /dev/shm"].refused == full["no room in /dev/shm"].tries
    assert full["no room in /dev/shm"].lost == 0
    assert rows["bad requests"].refused == rows["bad requests"].tries
    assert rows["bad requests"].answered == rows["JPEGs of 1 MiB"].answered == 1
