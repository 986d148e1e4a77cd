"""The benchmark of growth and of starts: its rows and tables, and a whole run with tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.growth.live import (
    CASES,
    CASES_OF_SMALL_PICTURES,
    ROUNDS,
    LiveRun,
    every_fraction,
    every_swap,
    hard_swap,
    moved_share,
    new_fraction,
    next_swap,
    one_fraction,
)
from benchmarks.growth.live_rows import EXPORTED, HARD_SWAP, NEW_FRACTION, TWO_EXPORTED, LiveRow
from benchmarks.growth.report import README, SERVER_README, summary, tables, with_growth
from benchmarks.growth.results import (
    GROWTH,
    LatestRows,
    first_answer_ratio,
    latest_rows,
    mib_per_blend,
    plotted,
    read_latest_rows,
)
from benchmarks.growth.start_rows import STARTS, StartRow
from benchmarks.growth.starts import StartCase, StartResult, measure_starts, start_cases
from benchmarks.latency.cases import batch_group
from benchmarks.latency.rows import LatencyRow, read_rows
from benchmarks.memory import PROC, smaps_bytes
from benchmarks.networks import CONFIG_F, FULL, TINY, BenchmarkModels
from benchmarks.records import append_records, read_records
from engines.contract.closing import Closing
from engines.contract.errors import ServerError

ROOT = Path(__file__).parents[2]

START = StartRow(
    run="2026-01-01T00:00:00Z",
    time="2026-01-01T00:01:00Z",
    commit="0123456789ab",
    blends=1,
    cache="off",
    resolution=1024,
    engine="openvino",
    precision="bf16",
    status="ok",
    n=2,
    first_s=10.0,
    firsts_s="10 12",
    ready_s=13.0,
    p5_ms=800.0,
    p50_ms=900.0,
    p95_ms=950.0,
    pss_mib=3000.0,
    rss_mib=3500.0,
    peak_mib=5000.0,
    processes=9,
    cache_mib=0.0,
    device="a processor",
)
THREE = replace(START, blends=3, pss_mib=5000.0)
FILLED = replace(START, cache="filled", first_s=8.0, firsts_s="8 6", cache_mib=700.0)
FAILED = replace(START, blends=4, status="failed", reason="no memory", first_s=None, firsts_s="")
PIPELINE = LatencyRow(
    run="2026-01-01T00:00:00Z",
    time="2026-01-01T00:01:00Z",
    commit="0123456789ab",
    group="resolution",
    stage="pipeline",
    engine="openvino",
    precision="bf16",
    served=True,
    resolution=256,
    batch=1,
    in_flight=1,
    status="ok",
    n=3,
    p5_ms=400.0,
    p50_ms=410.0,
    p95_ms=450.0,
)
BATCH = replace(PIPELINE, group="batch", stage="ensemble", batch=4, resolution=1024, p50_ms=2000.0)
LATEST = LatestRows(
    [PIPELINE, replace(PIPELINE, resolution=512, p50_ms=500.0)], [BATCH], [START, THREE, FILLED, FAILED]
)


def test_rows_of_starts_survive_the_csv(tmp_path: Path) -> None:
    path = tmp_path / "results" / "starts.csv"
    append_records(path, StartRow, [START, FILLED])
    append_records(path, StartRow, [FAILED])
    assert read_records(path, StartRow) == [START, FILLED, FAILED]


def test_a_further_blend_costs_what_the_blends_beyond_the_first_hold() -> None:
    assert mib_per_blend([START, THREE]) == 1000
    assert mib_per_blend([START]) is None


def test_starts_are_divided_round_by_round() -> None:
    ratio = first_answer_ratio(FILLED, START)
    assert (ratio.lowest, ratio.highest) == (0.5, 0.8)


def test_only_the_last_run_of_each_kind_is_shown() -> None:
    later = replace(PIPELINE, run="2026-01-02T00:00:00Z")
    latest = latest_rows([PIPELINE, later, BATCH], [START])
    assert (latest.resolution, latest.batch, latest.starts) == ([later], [BATCH], [START])


def test_the_growth_tables_hold_every_part_and_failures_with_their_reasons() -> None:
    text = tables(LATEST)
    assert "| pipeline | 256 | 410 | 400 to 450 | 3 |" in text
    assert "| ensemble | 4 | 2000 |" in text
    assert "| 3 | 5000 | 5000 | 9 | 900 | 10 | 13 |" in text
    assert "Each further blend takes 1000 MiB." in text
    assert "| filled | 8 | 8, 6 | 0.65 (0.50 to 0.80) | 13 | 700 | 3000 |" in text
    assert "- 4 blends, cache off: no memory" in text


def test_the_summary_says_the_three_findings() -> None:
    text = summary(LATEST)
    assert "410 ms at 256, 500 ms at 512" in text
    assert "3000 MiB, each further blend 1000 MiB more" in text
    assert "0.65 (0.50 to 0.80) times as long, for 700 MiB" in text


def test_engines_that_keep_nothing_are_not_praised_for_their_cache() -> None:
    starts = [START, replace(FILLED, cache_mib=0.0)]
    assert "these engines have nothing to cache." in summary(replace(LATEST, starts=starts))


def test_what_was_not_measured_has_no_table() -> None:
    no_rows = LatestRows([], [], [])
    assert plotted(no_rows) == []
    assert tables(no_rows).strip() == summary(no_rows).strip() == ""


def test_growth_plots_are_drawn_of_what_is_there(tmp_path: Path) -> None:
    plots = pytest.importorskip("benchmarks.growth.plots")
    plots.draw(LATEST, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(plotted(LATEST))


def test_every_committed_growth_row_is_of_its_schema_and_shown() -> None:
    assert all(
        row.status == "ok" or row.reason or row.n for row in [*read_rows(GROWTH), *read_records(STARTS, StartRow)]
    )
    latest = read_latest_rows()
    for path, section in ((README, tables(latest)), (SERVER_README, summary(latest))):
        assert with_growth(path.read_text(), section) == path.read_text(), "run python -m benchmarks.growth.report"


def test_smaller_networks_are_the_first_layers() -> None:
    assert FULL.at(256).channels == {size: width for size, width in CONFIG_F.items() if size <= 256}
    assert FULL.at(256).geometry.rows == 14


def test_shared_pages_are_counted_once() -> None:
    own = int(PROC.joinpath("self").readlink().name)
    assert 0 < smaps_bytes([own], "Pss") <= smaps_bytes([own], "Rss")


def test_one_server_answers_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BenchmarkModels, "served", lambda self, stage: ("openvino", "bf16"))
    cases = batch_group(BenchmarkModels(tmp_path, TINY), [1, 4]).cases
    assert [(one.stage, one.batch) for one in cases] == [
        (stage, batch) for stage in ("generator", "ensemble") for batch in (1, 4)
    ]
    assert len({one.subject for one in cases}) == 3


def test_a_filled_cache_follows_an_empty_one() -> None:
    assert start_cases(2) == [StartCase(1), StartCase(2), StartCase(1, "empty"), StartCase(1, "filled")]


def test_a_start_that_fails_is_a_row_and_an_interruption_keeps_the_finished_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(models: BenchmarkModels, case: StartCase, calls: int) -> StartResult:
        if case.blends == 2:
            raise ServerError("Triton server", got="no memory", expected="some", remedy="add some")
        return StartResult(10.0, 12.0, (0.5,), pss=2**20, rss=2**21, peak=2**22, processes=5, cache=0)

    def step(phrase: str) -> None:
        if phrase.startswith("round 3"):
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.growth.starts._start", start)
    monkeypatch.setattr(BenchmarkModels, "served", lambda self, stage: ("openvino", "bf16"))
    kept: list[StartRow] = []
    with pytest.raises(KeyboardInterrupt):
        measure_starts(BenchmarkModels(tmp_path, TINY), [StartCase(1), StartCase(2)], 3, 1, step, kept.extend)
    one, two = kept
    assert (one.status, one.n, one.first_s, one.p50_ms, one.pss_mib) == ("interrupted", 2, 10, 500, 1)
    assert (two.status, two.n) == ("failed", 0)
    assert "no memory" in two.reason


def quick(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "benchmarks.growth", "--quick", "--models", str(folder / "models")]
    done = subprocess.run(
        [*command, "--results", str(folder), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.triton
def test_a_quick_run_measures_growth_and_starts(tmp_path: Path) -> None:
    quick(tmp_path, "--only", "resolution,starts", "--blends", "2")
    rows = read_rows(tmp_path / "growth.csv")
    assert {row.status for row in rows} == {"ok"}, [row.reason for row in rows]
    assert [(row.stage, row.resolution) for row in rows] == [
        (stage, size) for stage in ("generator", "pipeline") for size in (16, 32)
    ]
    starts = read_records(tmp_path / "starts.csv", StartRow)
    assert [(row.blends, row.cache, row.status) for row in starts] == [
        (1, "off", "ok"),
        (2, "off", "ok"),
        (1, "empty", "ok"),
        (1, "filled", "ok"),
    ]
    one, two, _, filled = starts
    assert two.processes == one.processes + 1
    assert (two.pss_mib or 0) > (one.pss_mib or 0)
    assert one.cache_mib == 0
    # The fastest engine depends on the machine; only OpenVINO keeps what it compiled.
    manifests = [json.loads(path.read_bytes()) for path in tmp_path.rglob("model_repository/*/1/manifest.json")]
    assert len(manifests) >= 3
    assert ((filled.cache_mib or 0) > 0) == any(manifest["engine"] == "openvino" for manifest in manifests)


def test_a_quick_run_measures_a_live_model_beside_exported_blends(tmp_path: Path) -> None:
    quick(tmp_path, "--only", "live")
    rows = read_records(tmp_path / "live.csv", LiveRow)
    cases = {32: CASES, 16: CASES_OF_SMALL_PICTURES}
    assert [(row.resolution, row.case) for row in rows] == [(size, one.name) for size in cases for one in cases[size]]
    assert len({row.run for row in rows}) == 1
    assert {row.status for row in rows} == {"ok"}, [row.reason for row in rows]
    assert all(row.n == len(row.rounds) == ROUNDS and row.held_mib for row in rows)
    text = tables(LatestRows([], [], [], rows))
    assert "| studio, r_swap dragged | 16 |" in text
    assert text.count("1.00 (1.00 to 1.00)") >= 3


def test_a_live_model_is_asked_for_what_its_rows_say() -> None:
    assert hard_swap(0, 2, 4).tolist() == [[1, 1, 1, 0]] * 2
    assert every_swap(0, 3, 2).tolist() == [[0, 0], [1, 0], [1, 1]]
    assert every_fraction(0, 3, 2).tolist() == [[0.25, 0.25], [0.5, 0.5], [0.75, 0.75]]
    assert [next_swap(call, 1, 2).tolist() for call in range(4)] == [[[0, 0]], [[1, 0]], [[1, 1]], [[0, 0]]]
    assert moved_share(1023, 2, 4).tolist() == [[1, 1, 0.5, 0]] * 2
    assert len({new_fraction(call, 1, 1)[0, 0] for call in range(1000)}) == 1000


class RecordingWorker(Closing):
    """A worker that only notes the blends of each call, the last of which is timed."""

    asked: ClassVar[list[list[float]]] = []

    def __init__(self, factory: object, log: Path) -> None:
        self.asked.clear()

    def ask(self, method: str, *arguments: Any, timeout: float) -> float:
        if method == "time_last":
            self.asked.append([one["blend"][0, 0].item() for one in arguments[0]])
        return 1.0

    def close(self) -> None:
        pass


def test_a_kept_fraction_is_asked_for_before_it_is_timed_since_new_ones_displace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.growth.live.Worker", RecordingWorker)
    monkeypatch.setattr(BenchmarkModels, "served", lambda self, stage: ("winograd", "int16"))
    cases = [case for case in CASES if case.shares in (one_fraction, new_fraction)]
    rows: list[LiveRow] = []
    LiveRun(BenchmarkModels(tmp_path, TINY), cases, 2, "run").measure(lambda _: None, rows.extend)
    assert [(row.n, row.run, row.status) for row in rows] == [(2, "run", "ok")] * 2
    kept = [blends for blends in RecordingWorker.asked if 0.5 in blends]
    assert kept == [[0.5, 0.5]] * 3
    new = [share for blends in RecordingWorker.asked if 0.5 not in blends for share in blends]
    assert len({*new}) == len(new) == 4 + 2 * 2


def test_a_live_case_that_fails_is_a_line_with_its_reason() -> None:
    ok = LiveRow("r", "t", "c", "an exported blend", 1, 32, "winograd", "fp32", "ok", p50_ms=1.0, rounds_ms="1 1")
    failed = replace(ok, case="live, hard swap", status="failed", reason="no memory", p50_ms=None, rounds_ms="")
    assert "| live, hard swap | 32 | winograd fp32 | failed: no memory |" in tables(
        LatestRows([], [], [], [ok, failed])
    )


def test_a_live_models_memory_is_compared_with_that_of_many_exported_blends() -> None:
    held = {EXPORTED: 400.0, TWO_EXPORTED: 700.0, HARD_SWAP: 600.0, NEW_FRACTION: 900.0}
    row = LiveRow("r", "t", "c", "", 1, 1024, "winograd", "int16", "ok", p50_ms=1.0, rounds_ms="1")
    rows = [replace(row, case=case, held_mib=mib) for case, mib in held.items()]
    text = tables(LatestRows([], [], [], [*rows, replace(rows[0], resolution=256, held_mib=50.0)]))
    assert "| exported | 400 | 700 | 1300 | 2500 |" in text
    assert "| live, hard swaps | 600 | 600 | 600 | 600 |" in text
    assert "| live, with the fractions that it keeps | 900 | 900 | 900 | 900 |" in text
    assert "MiB of a live model" not in tables(LatestRows([], [], [], rows[:1]))


def test_a_quick_runs_rows_stay_out_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--quick"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "times mean nothing" in done.stderr
