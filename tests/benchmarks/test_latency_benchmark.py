"""The latency benchmark: its counts, its baseline, its raw rows and tables, and a whole run with tiny networks."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generators import random_generator

from benchmarks.baselines import PortedGenerator
from benchmarks.costs import generator_macs
from benchmarks.generated import MAIN_README, README
from benchmarks.latency.cases import GENERATOR_ENGINES, BenchmarkCase, Group
from benchmarks.latency.measure import LatencyOptions, LatencyRun
from benchmarks.latency.report import tables, with_summary, with_tables
from benchmarks.latency.results import ratio
from benchmarks.latency.rows import COLUMNS, RESULTS, LatencyRow, append_rows, read_rows
from benchmarks.networks import CONFIG_F, TINY, BenchmarkModels
from benchmarks.reference import write_reference_data
from export.networks.generator import generator_from_weights, picture_from_output

ROOT = Path(__file__).parents[2]

ROW = LatencyRow(
    run="2026-01-01T00:00:00Z",
    time="2026-01-01T00:01:00Z",
    commit="0123456789ab",
    group="generators",
    stage="generator",
    engine="openvino",
    precision="fp32",
    served=True,
    resolution=1024,
    batch=1,
    in_flight=1,
    status="ok",
    n=3,
    p5_ms=400.0,
    p50_ms=410.0,
    p95_ms=450.0,
    rounds_ms="400 410 450",
    worst_error=1.0,
    psnr_db=float("inf"),
    gmac=74.3,
    device="a processor",
    threads=2,
)
PORT = replace(ROW, engine="port eager", served=False, p50_ms=4100.0, p95_ms=9000.0, rounds_ms="4000 4100 9000")
FAILED = replace(
    ROW, engine="torch.compile channels_last", status="failed", reason="no compiler", p50_ms=None, rounds_ms=""
)


@pytest.mark.parametrize(("resolution", "gmac"), [(1024, 74.3), (512, 59.7), (256, 45.1)])
def test_transposed_convolutions_are_counted_at_their_inputs_size(resolution: int, gmac: float) -> None:
    channels = {r: width for r, width in CONFIG_F.items() if r <= resolution}
    assert round(generator_macs(channels) / 1e9, 1) == gmac


def test_the_port_draws_the_reference_networks_pictures() -> None:
    generator = generator_from_weights(random_generator(32, 8))
    w = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    psi = torch.tensor([[1.0], [0.7], [0.0]])
    with torch.no_grad():
        expected = picture_from_output(generator(w, psi)).int()
        drawn = PortedGenerator(generator)(w, psi).int()
    assert expected.float().std() > 20  # levels: not a flat picture
    # The order of float32 sums differs, which moves a value on the edge between two levels by one level.
    assert (drawn - expected).abs().max() <= 1
    assert (drawn != expected).float().mean() < 1e-3


def test_rows_survive_the_csv(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.csv"
    append_rows(path, [ROW])
    append_rows(path, [FAILED])
    assert read_rows(path) == [ROW, FAILED]


def test_every_committed_row_is_of_the_schema() -> None:
    rows = read_rows(RESULTS)
    assert all(row.status == "ok" or row.reason or row.n for row in rows)
    if rows:
        with RESULTS.open(newline="") as file:
            assert tuple(next(csv.reader(file))) == COLUMNS


def test_the_tables_are_current() -> None:
    text = README.read_text()
    assert with_tables(text, read_rows(RESULTS)) == text, "run python -m benchmarks.latency.report"
    text = MAIN_README.read_text()
    assert with_summary(text, read_rows(RESULTS)) == text, "run python -m benchmarks.latency.report"


def test_a_ratio_is_taken_round_by_round() -> None:
    port_ratio = ratio([PORT], [ROW])
    assert port_ratio is not None
    assert (port_ratio.median, port_ratio.lowest, port_ratio.highest) == (10, 10, 20)
    assert ratio([PORT], [FAILED]) is None


def test_the_tables_hold_failures_with_their_reasons() -> None:
    text = tables([PORT, ROW, FAILED])
    assert "| openvino | fp32 | 410 | 400 to 450 | 3 | 10.00 (10.00 to 20.00) | 1 | equal |" in text
    assert "| torch.compile channels_last | fp32 | failed: no compiler |" in text


def test_the_tables_say_what_a_server_adds_to_its_engines() -> None:
    text = tables([replace(ROW, group="stages", stage="ensemble", over_engines="1.02 1.01 1.05")])
    assert "The ensemble's calls take 1.02 (1.01 to 1.05) times what its engines compute in them." in text


def test_the_summary_holds_the_fastest_engine_beside_the_port_and_pytorch() -> None:
    slower = replace(ROW, engine="onnxruntime", p50_ms=500.0)
    compiled = replace(ROW, engine="torch.compile channels_last", p50_ms=820.0, rounds_ms="820 820 900")
    others = [
        replace(ROW, engine=engine, p50_ms=900.0)
        for engine in GENERATOR_ENGINES
        if engine not in (PORT.engine, "winograd")
    ]
    failed = replace(ROW, engine="winograd", status="unavailable", p50_ms=None)
    rows = [*others, PORT, slower, compiled, ROW]
    document = "<!-- generated: python -m benchmarks.latency.report -->\n<!-- end -->"
    assert "| openvino, fp32 (older than winograd) | 410 |" in with_summary(document, rows)
    text = with_summary(document, [*rows, failed])
    assert "| openvino, fp32 | 410 | 10.00 (10.00 to 20.00) | 2.00 (2.00 to 2.05): torch.compile channels_" in text


def test_plots_are_drawn_of_what_is_there(tmp_path: Path) -> None:
    plots = pytest.importorskip("benchmarks.latency.plots")
    roof = replace(ROW, stage="roof", engine="torch product", p5_ms=100.0, gmac=8.6)
    copy = replace(roof, engine="torch copy", gmac=0.0, gbyte=1.0)
    flights = [replace(ROW, group="stages", stage="ensemble", in_flight=k, pictures_per_s=2.0) for k in (1, 2)]
    engines = [replace(ROW, group="stages", stage=stage, served=True) for stage in ("encoder", "isf", "generator")]
    rows = [PORT, replace(ROW, gbyte=0.8), FAILED, roof, copy]
    plots.draw([*rows, *flights], tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"generators", "roofline", "in_flight"}
    plots.draw([*rows, *flights, *engines], tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"generators", "stages", "roofline", "in_flight"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkModels:
    """Tiny networks with reference data, none of them exported."""
    models = BenchmarkModels(tmp_path_factory.mktemp("benchmarks"), TINY)
    write_reference_data(models)
    return models


def test_a_failure_is_a_row_and_an_interruption_keeps_the_finished_rounds(models: BenchmarkModels) -> None:
    group = Group(
        "test", (BenchmarkCase("isf", "onnxruntime", "fp32"), BenchmarkCase("roof", "onnxruntime convolutions", "fp32"))
    )
    kept: list[LatencyRow] = []

    def step(phrase: str) -> None:
        if phrase.startswith("round 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LatencyRun(LatencyOptions(models, rounds=3, seconds=0)).measure(group, step, kept.extend)
    failed, roof = kept
    assert (failed.status, failed.n) == ("failed", 0)
    assert "isf.onnx" in failed.reason
    assert (roof.status, roof.n, len(roof.rounds)) == ("interrupted", 2, 2)


def quick(folder: Path, *arguments: str) -> list[LatencyRow]:
    results = folder / "rows.csv"
    command = [sys.executable, "-m", "benchmarks.latency", "--quick", "--batches", "1"]
    done = subprocess.run(
        [*command, "--models", str(folder / "models"), "--results", str(results), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return read_rows(results)


def test_a_quick_run_measures_the_generators(tmp_path: Path) -> None:
    rows = quick(tmp_path, "--only", "generator,roof")
    assert {row.status for row in rows} <= {"ok", "unavailable"}, [row.reason for row in rows]
    measured = [row for row in rows if row.stage == "generator" and row.status == "ok"]
    assert len(measured) >= 5
    for row in measured:
        assert row.worst_error is not None
        assert row.psnr_db is not None
        assert row.psnr_db > 40


@pytest.mark.triton
def test_a_quick_run_measures_the_service(tmp_path: Path) -> None:
    rows = quick(tmp_path, "--only", "isf,pipeline,ensemble", "--in-flight", "1,2")
    assert [row.in_flight for row in rows if row.stage == "ensemble" and row.status == "ok"] == [1, 2]
    assert all(row.psnr_db is not None and row.psnr_db > 40 for row in rows if row.status == "ok")
    (one,) = [row for row in rows if row.over_engines]
    assert (one.stage, one.in_flight) == ("ensemble", 1)
    assert all(float(part) > 1 for part in one.over_engines.split())


def test_a_quick_runs_rows_are_kept_out_of_the_results() -> None:
    command = [sys.executable, "-m", "benchmarks.latency", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "times mean nothing" in done.stderr
