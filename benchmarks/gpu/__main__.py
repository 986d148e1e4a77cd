"""``python -m benchmarks.gpu``: checks the kernels and the engine on an NVIDIA GPU, measures, and writes rows at once.

Needs only torch, triton, numpy and onnx; ONNX Runtime and a Triton server are measured too where they are installed.
A call that ends early is resumed by another one with the same folder of results.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.gpu.course import PRELOADED, Course, GpuOptions
from benchmarks.gpu.preparation import Preparation
from benchmarks.gpu.prepare import PREPARED
from benchmarks.gpu.report import summary
from benchmarks.gpu.results import Results, RunIdentity, resumed_run
from benchmarks.gpu.steps import FIRST_LOOK, PREPARATION_TIMEOUT, STEPS
from benchmarks.networks import FULL, TINY, models_for
from benchmarks.worker import Worker

FIRST_LOOK_MINUTES = 4.5
RESULTS = Path("build/bench-gpu")


def main() -> None:
    """Run the command; the exit code is 1 where a kernel or the engine is wrong."""
    given = _arguments()
    if given.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    options = options_of(given)
    try:
        identity = identify(options, given.results, again=given.again)
    except SubjectError as error:
        raise SystemExit(f"error: {error}") from None
    course = Course(options, Results(given.results, identity), partial(_report, options.started))
    course.report(f"{identity.device}; {identity.versions}; commit {identity.commit}; run {identity.run}")
    for step in STEPS:
        if step.name in given.steps:
            course.take(step)
    text, failures = summary(course.results)
    (given.results / "gpu_report.md").write_text(text)
    sys.stdout.write(f"{text}\nTo keep these rows: python -m benchmarks.gpu.report {given.results} --keep\n")
    raise SystemExit(1 if failures else 0)


def _arguments() -> argparse.Namespace:
    steps = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        epilog="Steps: " + "; ".join(f"{step.name}: {step.does}" for step in STEPS),
    )
    parser.add_argument("--device", default="cuda", help='"cuda", "cuda:1", or "cpu", which only checks that it runs')
    parser.add_argument("--quick", action="store_true", help="tiny networks, few calls: only checks that it runs")
    parser.add_argument("--first-look", action="store_true", help="the first four steps, in less than five minutes")
    parser.add_argument("--steps", nargs="+", choices=steps, default=steps, metavar="STEP", help="only these steps")
    parser.add_argument("--minutes", type=float, help="minutes after which no new measurement is started; default: 8.5")
    parser.add_argument("--again", action="store_true", help="begin a new run instead of resuming the last one")
    parser.add_argument("--models", type=Path, default=Path("build/benchmarks"), help="folder of exported networks")
    parser.add_argument("--prepared", type=Path, default=PREPARED, help="the file of make bench-gpu-prepare")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of rows, tracebacks and report")
    given = parser.parse_args()
    if given.first_look:
        given.steps = [step.name for step in FIRST_LOOK]
    given.minutes = given.minutes or (FIRST_LOOK_MINUTES if given.first_look else 8.5)
    return given


def options_of(given: argparse.Namespace) -> GpuOptions:
    """The options of the command line."""
    quick = given.quick
    return GpuOptions(
        models=models_for(TINY if quick else FULL, given.models),
        device=given.device,
        prepared=given.prepared,
        quick=quick,
        rounds=2 if quick else 4,
        seconds=0.0 if quick else 0.5,
        minutes=given.minutes,
        processes=1 if quick else min(8, machine.cores()),
    )


def identify(options: GpuOptions, results: Path, *, again: bool) -> RunIdentity:
    """Describe device and code; the run is the last one in ``results`` if that measured the same.

    Raises:
        SubjectError: there is no such device.
    """
    preparation = partial(Preparation, options.models, options.prepared)
    with TemporaryDirectory() as folder, Worker(preparation, Path(folder) / "log", PRELOADED) as worker:
        device, versions = worker.ask("describe_device", options.device, timeout=PREPARATION_TIMEOUT)
    commit = machine.commit()
    if commit == "unknown" or commit.endswith("+changes"):
        commit += f", code {options.models.folder.name}"  # the folder is named after the code and its libraries
    if options.quick:
        commit += ", tiny networks"
    resumed = None if again else resumed_run(results, commit, device)
    return RunIdentity(resumed or machine.now(), commit, device, versions)


def _report(started: float, phrase: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - started:4.0f} s] {phrase}\n")


if __name__ == "__main__":
    main()
