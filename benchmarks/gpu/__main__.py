"""``python -m benchmarks.gpu``: checks the kernels and the engine on an NVIDIA GPU, measures, and appends the rows.

Needs only torch, triton, numpy and onnx; ONNX Runtime and a Triton server are measured too where they are installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.errors import SubjectError
from benchmarks.gpu.kernels import kernel_workloads
from benchmarks.gpu.measure import OUT_OF_TIME, GpuOptions, GpuRun
from benchmarks.gpu.preparation import KernelCases, Preparation
from benchmarks.gpu.report import tables
from benchmarks.gpu.rows import KERNELS, LATENCIES, GpuRow, KernelRow
from benchmarks.gpu.subjects import COMPILED, EAGER, ONNX_CUDA, OURS, PORT, Subject
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.records import RESULTS_FOLDER, append_records
from benchmarks.worker import Worker

MIN_PSNR = 40.0
"""Least PSNR of this package's engine in dB; below it, differences are visible."""
PREPARATION_TIMEOUT = 240.0
CASE_TIMEOUT = 90.0


def main() -> None:
    """Run the command; the exit code is 1 where a kernel or the engine is wrong."""
    given = _arguments()
    if given.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    models = models_for(TINY if given.quick else FULL, given.models)
    models.folder.mkdir(parents=True, exist_ok=True)
    batches = (1, 2) if given.quick else (1, 4, 8)
    options = GpuOptions(models, given.device, batches, *((1, 0.0) if given.quick else (4, 0.5)), minutes=given.minutes)

    def report(phrase: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - options.started:4.0f} s] {phrase}\n")

    try:
        with Worker(partial(Preparation, models), options.log) as preparing:
            device, versions = preparing.ask("describe_device", given.device, timeout=PREPARATION_TIMEOUT)
            run = GpuRun(options, device, versions, report)
            report(f"{run.device}; the reference on the CPU")
            preparing.ask("references", timeout=PREPARATION_TIMEOUT)
            report("exporting")
            preparing.ask("export", timeout=PREPARATION_TIMEOUT)
            no_server = preparing.ask("repository", given.device, timeout=PREPARATION_TIMEOUT)
    except SubjectError as error:
        raise SystemExit(f"error: {error}") from None
    failures = _kernel_failures(run)
    rows, kernels = _measure(run, no_server, given.results, quick=given.quick)
    failures += [
        f"{row.stage}, {row.engine}, batch {row.batch}: {row.reason or f'{row.psnr_db:.1f} dB'}"
        for row in rows
        if row.engine == OURS and not _is_accurate(row)
    ]
    sys.stdout.write(tables(rows, kernels) + "\n")
    verdict = ["WRONG:", *failures] if failures else ["Kernels and engine: as exact as they should be."]
    sys.stdout.write("\n".join(verdict))
    sys.stdout.write(f"\nRows are in {given.results}; for the README: python -m benchmarks.gpu.report\n")
    raise SystemExit(1 if failures else 0)


def _is_accurate(row: GpuRow) -> bool:
    return row.status != "failed" and (row.psnr_db is None or row.psnr_db >= MIN_PSNR)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help='"cuda", "cuda:1", or "cpu", which only checks that it runs')
    parser.add_argument("--quick", action="store_true", help="tiny networks, few calls: only checks that it runs")
    parser.add_argument("--minutes", type=float, default=8, help="minutes after which no new measurement is started")
    parser.add_argument("--models", type=Path, default=Path("build/benchmarks"), help="folder of exported networks")
    parser.add_argument("--results", type=Path, default=RESULTS_FOLDER, help="folder of the CSV files")
    given = parser.parse_args()
    if (given.quick or given.device == "cpu") and given.results == RESULTS_FOLDER:
        parser.error("such a run's times mean nothing: give --results another folder")
    return given


def _kernel_failures(run: GpuRun) -> list[str]:
    """Run every case of the kernels' tests; after an error in a new process, as the old one may have lost the GPU."""
    cases: list[str] | None = None
    failures: list[str] = []
    while cases is None or cases:
        try:
            with Worker(partial(KernelCases, run.options.device), run.options.log) as worker:
                cases = cases or worker.ask("names", timeout=CASE_TIMEOUT)
                while cases and run.options.left > 0:
                    case = cases.pop(0)
                    run.report(f"kernel case: {case}")
                    if failure := worker.ask("failure", case, timeout=CASE_TIMEOUT):
                        failures.append(f"{case}: {failure}")
                return failures + [f"{case}: {OUT_OF_TIME}" for case in cases]
        except SubjectError as error:
            if cases is None:
                return [f"kernel cases: {error}"]
            failures.append(f"{case}: {error}")
    return failures


def _measure(run: GpuRun, no_server: str, results: Path, *, quick: bool) -> tuple[list[GpuRow], list[KernelRow]]:
    """Measure all subjects; ``no_server`` is the reason why no server can run, "" where one can."""
    generator = Subject("generator", OURS, "fp16")
    half_port = Subject("generator", PORT, "fp16")
    onnx_cuda, compiled = Subject("generator", ONNX_CUDA, "tf32"), Subject("generator", COMPILED, "fp16")
    generators = [generator, half_port, Subject("generator", EAGER, "fp16"), onnx_cuda]
    generators += [Subject("generator", PORT, precision) for precision in ("tf32", "fp32")]
    stages = [Subject("encoder", OURS, "fp16"), Subject("encoder", EAGER, "fp16"), Subject("isf", OURS, "fp32")]
    stages += [Subject("isf", EAGER, "fp32"), generator, Subject("pipeline", OURS, "fp16")]
    ensemble = Subject("ensemble", OURS, "fp16")
    reasons = {onnx_cuda: _reason_without_onnxruntime(), ensemble: no_server}
    rows: list[GpuRow] = []
    kernels: list[KernelRow] = []

    def keep(measured: list[GpuRow]) -> None:
        rows.extend(measured)
        append_records(results / LATENCIES.name, GpuRow, measured)

    keep(run.group("generators", generators, reasons))
    keep(run.group("stages", [*stages, ensemble], reasons))
    scale = run.options.models.scale
    layers = kernel_workloads(scale.channels, 16, fused_from=32) if quick else kernel_workloads(scale.channels, 64)
    sizes = ((1,), 1 << 16, 64) if quick else ((1, 8), 1 << 29, 8192)
    kernels = run.kernels(list(layers), *sizes)
    append_records(results / KERNELS.name, KernelRow, kernels)
    # torch.compile comes last, and for a single picture, since its compilation may take minutes.
    single = GpuRun(_for_one_picture(run.options), run.device, run.versions, run.report, run.started, run.commit)
    keep(single.group("compiled", [generator, half_port, compiled], {compiled: "not in a quick run" if quick else ""}))
    return rows, kernels


def _for_one_picture(options: GpuOptions) -> GpuOptions:
    return GpuOptions(
        options.models, options.device, (1,), options.rounds, options.seconds, options.minutes, options.started
    )


def _reason_without_onnxruntime() -> str:
    """The reason why ONNX Runtime cannot be measured; "" where it can."""
    if find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "" if has_cuda else "onnxruntime is installed without CUDA"


if __name__ == "__main__":
    main()
