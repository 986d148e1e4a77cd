"""The course of the GPU benchmark on a CPU with tiny networks, also where something fails or ends in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gpu_benchmark_fakes import LONG, FailingPreparation, FaultyCases, TiringSubject

from benchmarks.gpu import groups, kernel_steps, steps
from benchmarks.gpu.course import Course, GpuOptions, Step
from benchmarks.gpu.groups import Group
from benchmarks.gpu.preparation import Preparation
from benchmarks.gpu.prepare import prepare
from benchmarks.gpu.report import failures, tables
from benchmarks.gpu.results import Results, Row, RunIdentity, latest
from benchmarks.gpu.rows import FILES, CaseRow, GpuRow, KernelRow, ProfileRow, StepRow
from benchmarks.gpu.steps import ENSEMBLE, STEPS
from benchmarks.networks import TINY, BenchmarkModels, models_for
from benchmarks.records import read_records

ROOT = Path(__file__).parents[2]

ONLY_THE_IMAGES_PACKAGES = """
import sys
ALLOWED = set(sys.stdlib_module_names) | set('''
torch torchgen functorch triton numpy onnx onnxruntime google ml_dtypes typing_extensions sympy mpmath networkx jinja2
markupsafe filelock fsspec packaging flatbuffers setuptools _distutils_hack
benchmarks engines export serving kernel_cases driver_launch
'''.split())
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] not in ALLOWED and not name.startswith("_sysconfigdata")
        return None if hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
"""A sitecustomize.py that leaves PyTorch, Triton, NumPy, ONNX, what they need, and this package; in every process."""


def command(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start the benchmark in a session of its own, with one thread for each process."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def quick(models: BenchmarkModels, results: Path, *arguments: str) -> list[str | Path]:
    return ["--quick", "--device", "cpu", "--models", models.folder.parent, "--results", results, *arguments]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkModels:
    """Tiny networks, with references and the generator's graph."""
    models = models_for(TINY, tmp_path_factory.mktemp("models"))
    preparation = Preparation(models, Path("none"))
    assert preparation.references() == "the references were computed here: there is no none"
    preparation.export("generator")
    return models


@pytest.fixture
def course(models: BenchmarkModels, tmp_path: Path) -> Course:
    """A quick run in this process, which measures in others."""
    options = GpuOptions(models, "cpu", Path("none"), True, 1, 0.0, minutes=5, processes=2)
    identity = RunIdentity("2026-01-01T00:00:00Z", "abc", "a processor", "torch")
    return Course(options, Results(tmp_path, identity), lambda phrase: None)


def test_the_whole_course_needs_nothing_but_what_a_gpu_image_has(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ONLY_THE_IMAGES_PACKAGES)
    prepare(TINY, tmp_path / "prepared.npz", tmp_path / "here")
    models, results = models_for(TINY, tmp_path / "there"), tmp_path / "results"
    process = command(*quick(models, results, "--prepared", str(tmp_path / "prepared.npz")), PYTHONPATH=str(tmp_path))
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    taken = rows_in(results, StepRow)
    assert [(row.step, row.status) for row in taken] == [(step.name, "ok") for step in STEPS]
    assert taken[1].note == f"the references are those of {tmp_path / 'prepared.npz'}"
    latencies = rows_in(results, GpuRow)
    measured = [row for row in latencies if row.status == "ok"]
    assert {row.stage for row in measured} == {"generator", "encoder", "isf", "pipeline"}
    assert all(row.psnr_db is not None and row.psnr_db > 40 for row in measured)
    assert {row.engine: bool(row.reason) for row in latencies if row.status != "ok"} == {
        "onnxruntime-cuda": True,
        "torch-cuda": True,  # the ensemble
        "torch.compile max-autotune": True,
    }
    kernels = {row.kernel for row in rows_in(results, KernelRow) if row.status == "ok"}
    assert kernels >= {"copy", "product", "styles", "demodulations", "conv_sums", "to_rgb of sums", "tail"}
    assert kernels >= {"conv_up", "conv_rgb"}
    assert {row.status for row in rows_in(results, CaseRow)} == {"ok"}
    assert sum(row.total_us for row in rows_in(results, ProfileRow)) > 0
    assert "| generator | ok |" in (results / "gpu_report.md").read_text()


def test_a_run_that_is_killed_leaves_its_rows_and_is_resumed(models: BenchmarkModels, tmp_path: Path) -> None:
    arguments = quick(models, tmp_path, "--steps", "generator")
    process = command(*arguments)
    latencies = tmp_path / "gpu_latency.csv"
    wait_for(lambda: latencies.exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first = rows_in(tmp_path, GpuRow)[0]
    assert (first.engine, first.batch, first.psnr_db is not None) == ("torch-cuda", 1, True)
    assert "| generator | generator | torch-cuda | fp16 | 1 |" in tables(tmp_path)
    again = command(*arguments)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert {row.run for row in rows_in(tmp_path, GpuRow)} == {first.run}
    assert {(row.step, row.status) for row in rows_in(tmp_path, StepRow)} == {("generator", "ok")}


def test_a_kernel_that_faults_is_one_row_and_the_others_follow(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_steps, "KernelCases", FaultyCases)
    course.take(step("kernel cases"))
    outcomes = {row.case: (row.status, row.reason) for row in course.results.rows(CaseRow)}
    assert outcomes == {
        "first": ("ok", ""),
        "faulty": ("failed", "its process ended with exit code -11"),
        "wrong": ("failed", "y: 1, half precision 0.1"),
        "last": ("ok", ""),
    }
    assert len(failures(course.results.rows(CaseRow))) == 2
    assert "Segmentation fault" in (course.results.folder / "workers.log").read_text()


def test_a_subject_that_fails_in_a_later_round_has_no_times(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "RemoteSubject", TiringSubject)
    course.options = replace(course.options, rounds=2)
    group = Group("generator", [steps.GENERATOR], (1, 8))
    course.take(Step("generator", "two sizes", lambda course: group.measure(course) or "", seconds=60))
    single, eight = course.results.rows(GpuRow)
    assert (single.status, single.p50_ms, single.host_p50_ms, single.load_s) == ("ok", 2.0, 4.0, 1.5)
    assert single.rounds == [2.0, 2.0]
    assert (eight.status, eight.reason, eight.p50_ms) == ("failed", "RuntimeError: tired", None)


def test_an_export_that_fails_ends_only_the_steps_that_need_it(
    course: Course, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(steps, "Preparation", FailingPreparation)
    monkeypatch.setattr(kernel_steps, "KernelCases", FaultyCases)
    for name in ("stages", "kernel cases"):
        course.take(step(name))
    assert [(row.step, row.status) for row in course.results.rows(StepRow)] == [
        ("stages", "failed"),
        ("kernel cases", "ok"),
    ]
    details = (tmp_path / "tracebacks.txt").read_text()
    assert "in export\n" in details
    assert f"encoder: {LONG}" in details


def test_a_step_without_time_left_is_taken_by_the_next_call(course: Course) -> None:
    taken: list[str] = []
    course.take(Step("late", "nothing", lambda _: taken.append("early") or "", seconds=0))
    assert course.results.rows(StepRow)[0].status == "interrupted"
    course.take(Step("late", "nothing", lambda _: taken.append("in time") or "a note", seconds=60))
    course.take(Step("late", "nothing", lambda _: taken.append("again") or "", seconds=60))
    assert taken == ["in time"]
    assert [(row.status, row.note) for row in course.results.rows(StepRow)] == [("ok", "a note")]


@pytest.mark.triton
def test_a_server_is_measured_by_the_times_of_its_answers(course: Course) -> None:
    preparation = Preparation(course.options.models, Path("none"))
    assert preparation.repository("cpu") == ""
    group = Group("ensemble", [ENSEMBLE], [2])
    course.take(Step("ensemble", "a server", lambda course: group.measure(course) or "", seconds=120))
    (row,) = course.results.rows(GpuRow)
    assert (row.status, row.reason, row.p50_ms, row.peak_mib) == ("ok", "", None, 0)
    assert row.psnr_db is not None
    assert row.psnr_db > 40
    assert "| ensemble | ensemble | torch-cuda | fp16 | 2 |  |  |" in tables(course.results.folder)


def test_a_machine_without_a_gpu_is_told_so(tmp_path: Path) -> None:
    process = command("--quick", "--models", tmp_path / "models", "--results", tmp_path, CUDA_VISIBLE_DEVICES="")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "expected an NVIDIA GPU" in output
    assert not list(tmp_path.glob("*.csv"))


def step(name: str) -> Step:
    (found,) = (each for each in STEPS if each.name == name)
    return found


def rows_in(folder: Path, kind: type[Row]) -> list[Row]:
    """The latest rows of the only run in a folder."""
    return latest(read_records(folder / FILES[kind].name, kind))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
