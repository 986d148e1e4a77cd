"""The GPU benchmark: a whole run with tiny networks on a CPU, its counts of operations, its tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.costs import generator_macs
from benchmarks.errors import SubjectError
from benchmarks.gpu.clock import MIN_CALLS
from benchmarks.gpu.kernels import KernelWorkload, kernel_workloads
from benchmarks.gpu.measure import GpuOptions, GpuRun
from benchmarks.gpu.preparation import Preparation
from benchmarks.gpu.report import README, tables, with_tables
from benchmarks.gpu.rows import KERNELS, LATENCIES, GpuRow, KernelRow
from benchmarks.gpu.subjects import OURS, Subject
from benchmarks.networks import CONFIG_F, TINY, models_for
from benchmarks.records import read_records
from benchmarks.worker import Worker
from export.parity import parity

ROOT = Path(__file__).parents[2]

HIDE_PACKAGES = """
import sys
HIDDEN = "typer rich pydantic cv2 onnxscript onnx_ir pytest onnxruntime openvino tritonclient safetensors".split()
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
"""A sitecustomize.py that hides packages; every interpreter runs it at its start, the benchmark's processes too."""


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_a_quick_run_needs_torch_triton_numpy_and_onnx_only(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "sitecustomize.py").write_text(HIDE_PACKAGES)
    folders = ["--models", str(tmp_path / "models"), "--results", str(tmp_path)]
    done = command("--quick", "--device", "cpu", *folders, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_records(tmp_path / LATENCIES.name, GpuRow)
    assert {row.status for row in rows} == {"ok", "unavailable"}
    assert {row.stage for row in rows if row.status == "ok"} == {"generator", "encoder", "isf", "pipeline"}
    assert {row.engine for row in rows if row.status == "unavailable"} == {
        "onnxruntime-cuda",
        "torch-cuda",  # the ensemble
        "torch.compile max-autotune",
    }
    assert all(row.psnr_db is not None and row.psnr_db > 40 for row in rows if row.status == "ok")
    assert all(row.reason for row in rows if row.status == "unavailable")
    kernels = read_records(tmp_path / KERNELS.name, KernelRow)
    assert {row.kernel for row in kernels if row.status == "ok"} >= {"copy", "product", "tail", "conv_up", "conv_rgb"}


@pytest.mark.triton
def test_a_server_is_measured_by_the_times_of_its_answers(tmp_path: Path) -> None:
    models = models_for(TINY, tmp_path)
    models.folder.mkdir()
    preparation = Preparation(models)
    preparation.references()
    assert preparation.repository("cpu") == ""
    ensemble = Subject("ensemble", OURS, "fp16")
    run = GpuRun(GpuOptions(models, "cpu", (2,), 1, 0, minutes=5), "a processor", "", lambda phrase: None)
    (row,) = run.group("stages", [ensemble], {})
    assert (row.status, row.reason, row.p50_ms, row.peak_mib) == ("ok", "", None, None)
    assert row.psnr_db is not None
    assert row.psnr_db > 40
    assert row.n == MIN_CALLS
    cells = re.search(r"\| ensemble \| torch-cuda \| fp16 \| 2 \| (.*)", tables([row], []))
    assert cells is not None
    assert [bool(cell.strip()) for cell in cells[1].split("|")[:4]] == [False, False, True, True]


def test_a_machine_without_a_gpu_is_told_so(tmp_path: Path) -> None:
    folders = ["--models", str(tmp_path / "models"), "--results", str(tmp_path)]
    done = command("--quick", *folders, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "expected an NVIDIA GPU" in done.stderr
    assert not list(tmp_path.glob("*.csv"))


def test_a_quick_runs_rows_are_kept_out_of_the_results() -> None:
    done = command("--quick")
    assert done.returncode == 2
    assert "times mean nothing" in done.stderr


def test_the_layers_operations_are_the_generators() -> None:
    layers = list(kernel_workloads(CONFIG_F, lowest=8, fused_from=2048))
    convolutions = sum(layer.costs(1)[1] for layer in layers if layer.kernel.startswith("library"))
    # Beside them, the convolution at 4 and ToRGB: 0.4 %.
    assert convolutions == pytest.approx(2 * generator_macs(CONFIG_F), rel=5e-3)


def test_the_last_convolution_writes_no_map() -> None:
    followed, last = (KernelWorkload("conv_rgb", 32, 32, 1024, last).costs(1)[0] for last in (False, True))
    assert followed - last == (2 * 32 + 12 - 3) * 1024**2


def test_a_nan_counts_as_an_infinite_error() -> None:
    difference = parity(np.array([np.nan, 1.0], np.float32), np.array([0.0, 1.0], np.float32))
    assert difference.worst == np.inf
    assert difference.psnr == -np.inf


class RemoteObject:
    def answer(self, value: int) -> int:
        if value < 0:
            raise ValueError("below zero")
        return value + 1

    def die(self) -> None:
        os._exit(3)


def test_a_worker_outlives_errors_but_not_its_process(tmp_path: Path) -> None:
    with Worker(RemoteObject, tmp_path / "log") as worker:
        with pytest.raises(SubjectError, match="ValueError: below zero"):
            worker.ask("answer", -1, timeout=60)
        assert worker.ask("answer", 1, timeout=60) == 2
        for _ in range(2):
            with pytest.raises(SubjectError, match="its process ended with exit code 3"):
                worker.ask("die", timeout=60)


def test_the_tables_are_current() -> None:
    text = README.read_text()
    rows, kernels = read_records(LATENCIES, GpuRow), read_records(KERNELS, KernelRow)
    assert with_tables(text, rows, kernels) == text, "run python -m benchmarks.gpu.report"
