"""The parts of the GPU benchmark: its counts of operations, its variants of kernels, its rows and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import triton
from gpu_benchmark_fakes import LONG, RemoteObject
from triton.backends.compiler import GPUTarget

from benchmarks.costs import generator_macs
from benchmarks.errors import SubjectError
from benchmarks.generated import README
from benchmarks.gpu.kernel_calls import kernel_call
from benchmarks.gpu.launch_costs import W_DIM, generator_launches
from benchmarks.gpu.report import failures, keep_rows, tables, with_tables
from benchmarks.gpu.results import Results, RunIdentity, resumed_run
from benchmarks.gpu.rows import CaseRow, GpuRow, KernelRow, StepRow
from benchmarks.gpu.variants import AS_IS, CacheLevel, KernelVariant, copied_by, launched_as
from benchmarks.gpu.workloads import KernelWorkload, kernel_workloads, style_workloads
from benchmarks.networks import CONFIG_F
from benchmarks.records import RESULTS_FOLDER, read_records
from benchmarks.worker import Worker
from engines.kernels.ahead_of_time import _source
from engines.kernels.conv_rgb import conv_rgb_spec
from engines.kernels.conv_up import conv_up_spec
from engines.kernels.launch import KernelSpec
from engines.kernels.rgb import ToRgbVariant
from engines.kernels.shared_memory import EVERYWHERE
from export.parity import parity

IDENTITY = RunIdentity("2026-01-01T00:00:00Z", "abc", "a GPU", "torch")


def convolution(block_bytes: int = 0) -> KernelSpec:
    return conv_rgb_spec(32, 32, 64, 64, ToRgbVariant(), block_bytes)


def test_the_layers_operations_are_the_generators() -> None:
    layers = list(kernel_workloads(CONFIG_F, lowest=4, fused_from=2048))
    convolutions = sum(layer.costs(1)[1] for layer in layers if "conv" in layer.kernel)
    # Beside them, ToRGB: 0.4 %.
    assert convolutions == pytest.approx(2 * generator_macs(CONFIG_F), rel=5e-3)


@pytest.mark.parametrize("batch", [1, 8])
def test_what_is_timed_is_what_the_table_of_launches_counts(batch: int) -> None:
    timed = [*style_workloads(CONFIG_F, W_DIM), *kernel_workloads(CONFIG_F, lowest=4, batch=batch)]
    counted = [launch for launch in generator_launches(CONFIG_F, batch) if launch.kernel != "constant input"]
    assert [layer.kernel for layer in timed] == [launch.kernel for launch in counted]
    assert [layer.costs(batch) for layer in timed] == [(launch.floor, launch.operations) for launch in counted]


def test_the_last_convolution_writes_no_map() -> None:
    followed, last = (KernelWorkload("conv_rgb", 32, 32, 1024, last).costs(1)[0] for last in (False, True))
    assert followed - last == (2 * 32 + 12 - 3) * 1024**2


def test_a_nan_counts_as_an_infinite_error() -> None:
    difference = parity(np.array([np.nan, 1.0], np.float32), np.array([0.0, 1.0], np.float32))
    assert difference.worst == np.inf
    assert difference.psnr == -np.inf


def test_a_worker_outlives_errors_but_not_its_process(tmp_path: Path) -> None:
    with Worker(RemoteObject, tmp_path / "log") as worker:
        with pytest.raises(SubjectError, match="ValueError: below zero"):
            worker.ask("answer", -1, timeout=60)
        assert worker.ask("answer", 1, timeout=60) == 2
        for _ in range(2):
            with pytest.raises(SubjectError, match="its process ended with exit code 3"):
                worker.ask("die", timeout=60)


def test_a_workers_error_has_the_whole_traceback(tmp_path: Path) -> None:
    with Worker(RemoteObject, tmp_path / "log") as worker, pytest.raises(SubjectError) as caught:
        worker.ask("answer", -1, timeout=60)
    assert "in answer\n" in caught.value.details
    assert f"below zero: {LONG}" in caught.value.details


def test_a_variant_changes_a_kernels_launch() -> None:
    spec = convolution()
    assert AS_IS.of(spec) == spec
    varied = KernelVariant(block_i=16, stages=2, warps=8).of(spec)
    assert (varied.constants["BLOCK_I"], varied.stages, varied.warps, varied.grid) == (16, 2, 8, spec.grid)
    assert KernelVariant(tile=(4, 32)).of(spec).grid == (2, 16)
    assert KernelVariant(rows=16).of(convolution(EVERYWHERE)).grid == (1, 4)


def test_a_variant_without_shared_memory_keeps_no_weights() -> None:
    layer, launched = KernelWorkload("conv_rgb", 32, 32, 16), []
    with patch.object(KernelSpec, "launch", lambda spec, *_: launched.append(spec)):
        for variant in (AS_IS, KernelVariant(shared_kib=0)):
            with launched_as(variant):
                kernel_call(layer, 1, torch.device("cpu"))()
    assert ["ROWS" in spec.constants for spec in launched] == [True, False]


def test_a_variant_that_a_kernel_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="the kernel has no TILE_H, TILE_W"):
        KernelVariant(tile=(4, 32)).of(conv_up_spec(32, 32, 64, 64))
    with pytest.raises(ValueError, match="the kernel keeps its weights"):
        KernelVariant(block_i=16).of(conv_up_spec(32, 32, 64, 64))


@pytest.mark.parametrize("level", ["ca", "cg"])
def test_a_variants_copies_have_its_cache_level(
    level: CacheLevel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    spec = convolution()
    with copied_by(level):
        compiled = triton.compile(_source(spec), target=GPUTarget("cuda", 80, 32), options=spec.options)
    other = {"ca": "cg", "cg": "ca"}[level]
    assert f"cp.async.{level}.shared" in compiled.asm["ptx"]
    assert f"cp.async.{other}.shared" not in compiled.asm["ptx"]


def test_a_row_is_read_as_it_was_written_and_the_last_one_counts(tmp_path: Path) -> None:
    results = Results(tmp_path, IDENTITY)
    case = {"kernel": "tail", "channels_in": 8, "channels_out": 8, "size": 16, "batch": 1}
    results.add(KernelRow, **case, status="interrupted")
    assert not results.has(KernelRow, "tail", 8, 8, 16, 1, "")
    row = results.add(KernelRow, **case, status="ok", p50_ms=0.5)
    assert results.rows(KernelRow) == [row]
    assert results.has(KernelRow, "tail", 8, 8, 16, 1, "")


def test_a_row_that_was_cut_off_is_left_out_and_overwritten(tmp_path: Path) -> None:
    results = Results(tmp_path, IDENTITY)
    results.add(CaseRow, case="first", status="ok")
    file = tmp_path / "gpu_cases.csv"
    file.write_text(file.read_text() + "2026-01-01T00:00:0")
    assert [row.case for row in results.rows(CaseRow)] == ["first"]
    results.add(CaseRow, case="second", status="ok")
    assert [row.case for row in results.rows(CaseRow)] == ["first", "second"]


def test_a_run_is_resumed_only_by_the_same_code_on_the_same_device(tmp_path: Path) -> None:
    assert resumed_run(tmp_path, "abc", "a GPU") is None
    Results(tmp_path, IDENTITY).add(CaseRow, case="first", status="ok")
    assert resumed_run(tmp_path, "abc", "a GPU") == IDENTITY.run
    assert resumed_run(tmp_path, "abd", "a GPU") is None
    assert resumed_run(tmp_path, "abc", "another GPU") is None


def test_a_report_is_made_from_what_is_there(tmp_path: Path) -> None:
    results = Results(tmp_path, IDENTITY)
    results.add(StepRow, step="facts", status="ok", seconds=1.0, note="1980 MHz")
    assert "| facts | ok | 1 | 1980 MHz |" in tables(tmp_path)
    latency = {"stage": "generator", "engine": "torch-cuda", "precision": "fp16", "resolution": 1024, "batch": 1}
    results.add(GpuRow, group="generator", **latency, status="interrupted", p50_ms=0.9, psnr_db=39.0)
    assert "| generator | generator | torch-cuda | fp16 | 1 | 0.9 (interrupted) |" in tables(tmp_path)
    assert failures(results.rows(GpuRow)) == ["generator, torch-cuda, batch 1: 39.0 dB"]


def test_rows_that_are_kept_are_the_last_ones_of_the_last_run(tmp_path: Path) -> None:
    Results(tmp_path / "run", replace(IDENTITY, run="2025-01-01T00:00:00Z")).add(CaseRow, case="old", status="ok")
    results = Results(tmp_path / "run", IDENTITY)
    for status in ("interrupted", "ok"):
        results.add(CaseRow, case="first", status=status)
    keep_rows(tmp_path / "run", tmp_path / "kept")
    kept = read_records(tmp_path / "kept" / "gpu_cases.csv", CaseRow)
    assert [(row.case, row.status) for row in kept] == [("first", "ok")]


def test_the_tables_are_current() -> None:
    text = README.read_text()
    assert with_tables(text, RESULTS_FOLDER) == text, "run python -m benchmarks.gpu.report"
