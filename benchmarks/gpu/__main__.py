"""``python -m benchmarks.gpu``: check the kernels and the engine on an NVIDIA GPU, measure, and append the rows.

Needs torch, triton, numpy and onnx only; what more is there is measured too.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.failures import SubjectError
from benchmarks.gpu.kernels import layers_of
from benchmarks.gpu.measure import LEFT_OUT, Plan, Run
from benchmarks.gpu.preparation import KernelCases, Preparation
from benchmarks.gpu.report import tables
from benchmarks.gpu.rows import KERNELS, LATENCIES, GpuRow, KernelRow
from benchmarks.gpu.subjects import COMPILED, EAGER, MODULES, ONNX_CUDA, OURS, PORT, Subject
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.records import RESULTS_FOLDER, append_records
from benchmarks.worker import Worker

LEAST_PSNR = 40.0
"""Of this package's engine, in dB; below, differences can be seen."""
PREPARATION_TIMEOUT = 240.0
CASE_TIMEOUT = 90.0


def main() -> None:
    """Run the command."""
    given = _arguments()
    if given.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    models = models_for(TINY if given.quick else FULL, given.models)
    models.folder.mkdir(parents=True, exist_ok=True)
    batches = (1, 2) if given.quick else (1, 4, 8)
    plan = Plan(models, given.device, batches, *((1, 0.0) if given.quick else (4, 0.5)), minutes=given.minutes)

    def say(phrase: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - plan.started:4.0f} s] {phrase}\n")

    try:
        with Worker(partial(Preparation, models), plan.log) as preparing:
            device, versions = preparing.ask("facts", given.device, timeout=PREPARATION_TIMEOUT)
            run = Run(plan, device, versions, say)
            say(f"{run.device}; the reference on the CPU")
            preparing.ask("references", timeout=PREPARATION_TIMEOUT)
            say("exporting")
            not_exported = preparing.ask("export", timeout=PREPARATION_TIMEOUT)
            not_served = preparing.ask("repository", given.device, timeout=PREPARATION_TIMEOUT)
    except SubjectError as error:
        raise SystemExit(f"error: {error}") from None
    wrong = _wrong_kernels(run)
    rows, kernels = _measured(run, Missing(not_exported, not_served), given.results, quick=given.quick)
    wrong += [
        f"{row.stage}, {row.engine}, batch {row.batch}: {row.reason or f'{row.psnr_db:.1f} dB'}"
        for row in rows
        if row.engine in (OURS, MODULES) and not _is_right(row)
    ]
    sys.stdout.write(tables(rows, kernels) + "\n")
    sys.stdout.write("\n".join(["WRONG:", *wrong] if wrong else ["Kernels and engine: as exact as they should be."]))
    sys.stdout.write(f"\nRows are in {given.results}; for the README: python -m benchmarks.gpu.report\n")
    raise SystemExit(1 if wrong else 0)


def _is_right(row: GpuRow) -> bool:
    return row.status != "failed" and (row.psnr_db is None or row.psnr_db >= LEAST_PSNR)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help='"cuda", "cuda:1", or "cpu", which only shows that it works')
    parser.add_argument("--quick", action="store_true", help="tiny networks, few calls: does it work?")
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing new is begun")
    parser.add_argument("--models", type=Path, default=Path("build/benchmarks"), help="folder for networks' outputs")
    parser.add_argument("--results", type=Path, default=RESULTS_FOLDER, help="folder of the CSVs")
    given = parser.parse_args()
    if (given.quick or given.device == "cpu") and given.results == RESULTS_FOLDER:
        parser.error("such a run's times mean nothing: give --results another folder")
    return given


def _wrong_kernels(run: Run) -> list[str]:
    """Try every case of the kernels' tests, in a new process after a failure, which may have taken the GPU away."""
    cases: list[str] | None = None
    wrong: list[str] = []
    while cases is None or cases:
        try:
            with Worker(partial(KernelCases, run.plan.device), run.plan.log) as worker:
                cases = cases or worker.ask("names", timeout=CASE_TIMEOUT)
                while cases and run.plan.left > 0:
                    case = cases.pop(0)
                    run.say(f"kernel case: {case}")
                    if found := worker.ask("wrong", case, timeout=CASE_TIMEOUT):
                        wrong.append(f"{case}: {found}")
                return wrong + [f"{case}: {LEFT_OUT}" for case in cases]
        except SubjectError as error:
            if cases is None:
                return [f"kernel cases: {error}"]
            wrong.append(f"{case}: {error}")
    return wrong


@dataclass(frozen=True)
class Missing:
    """Why nothing could be exported, and nothing served; empty where it could."""

    exports: str
    server: str


def _measured(run: Run, missing: Missing, results: Path, *, quick: bool) -> tuple[list[GpuRow], list[KernelRow]]:
    ours = MODULES if missing.exports else OURS
    generator = Subject("generator", OURS, "fp16")
    half_port = Subject("generator", PORT, "fp16")
    onnx_cuda, compiled = Subject("generator", ONNX_CUDA, "tf32"), Subject("generator", COMPILED, "fp16")
    generators = [generator, half_port, Subject("generator", EAGER, "fp16"), onnx_cuda]
    generators += [Subject("generator", PORT, precision) for precision in ("tf32", "fp32")]
    stages = [Subject("encoder", ours, "fp16"), Subject("encoder", EAGER, "fp16"), Subject("isf", ours, "fp32")]
    stages += [Subject("isf", EAGER, "fp32"), generator, Subject("pipeline", ours, "fp16")]
    ensemble = Subject("ensemble", OURS, "fp16")
    reasons = {onnx_cuda: missing.exports or _without_onnxruntime(), ensemble: missing.server}
    rows: list[GpuRow] = []
    kernels: list[KernelRow] = []

    def keep(found: list[GpuRow]) -> None:
        rows.extend(found)
        append_records(results / LATENCIES.name, GpuRow, found)

    keep(run.group("generators", generators, reasons))
    keep(run.group("stages", [*stages, ensemble], reasons))
    scale = run.plan.models.scale
    layers = layers_of(scale.channels, 16, fused_from=32) if quick else layers_of(scale.channels, 64)
    sizes = ((1,), 1 << 16, 64) if quick else ((1, 8), 1 << 29, 8192)
    kernels = run.kernels(list(layers), *sizes)
    append_records(results / KERNELS.name, KernelRow, kernels)
    # Last, and for a single picture: its compilation may take minutes.
    single = Run(_for_one_picture(run.plan), run.device, run.versions, run.say, run.started, run.commit)
    keep(single.group("compiled", [generator, half_port, compiled], {compiled: "not in a quick run" if quick else ""}))
    return rows, kernels


def _for_one_picture(plan: Plan) -> Plan:
    return Plan(plan.models, plan.device, (1,), plan.rounds, plan.seconds, plan.minutes, plan.started)


def _without_onnxruntime() -> str:
    """Why ONNX Runtime cannot be measured, if it cannot."""
    if find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    import onnxruntime

    offered = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "" if offered else "onnxruntime is installed without CUDA"


if __name__ == "__main__":
    main()
