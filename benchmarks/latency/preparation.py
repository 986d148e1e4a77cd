"""Export and reference run before the measurement, in a process whose memory is freed when the measurement begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from multiprocessing import get_context

from benchmarks.networks import BenchmarkModels, Report, build
from benchmarks.reference import write_reference_data
from engines.contract.errors import ToonifyError
from serving.command_line import stages


def prepare_in_subprocess(models: BenchmarkModels, needed_by: Collection[str]) -> None:
    """Export the networks that the stages need, and run the reference, where their files do not exist yet.

    Raises:
        SystemExit: the export fails; the reason is on stderr.
    """
    in_subprocess(partial(_prepare, models, needed_by))


def in_subprocess(work: Callable[[Report], None]) -> None:
    """Do work, which can be pickled and gets a function to call with a phrase at every stage, in a process of its own.

    Raises:
        SystemExit: it fails; the reason is on stderr.
    """
    process = get_context("spawn").Process(target=_report_and_run, args=(work,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _prepare(models: BenchmarkModels, needed_by: Collection[str], report: Report) -> None:
    build(models, needed_by, report)
    if not models.reference_file.exists():
        report("running the reference in PyTorch")
        write_reference_data(models)


def _report_and_run(work: Callable[[Report], None]) -> None:
    try:
        with stages() as report:
            work(report)
    except ToonifyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
