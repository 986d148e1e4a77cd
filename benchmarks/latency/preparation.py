"""Export and reference run before the measurement, in a process whose memory is freed when the measurement begins."""

from __future__ import annotations

import sys
from collections.abc import Collection
from multiprocessing import get_context

from benchmarks.networks import BenchmarkModels, build
from benchmarks.reference import write_reference_data
from engines.contract.errors import ToonifyError
from serving.command_line import stages


def prepare_in_subprocess(models: BenchmarkModels, needed_by: Collection[str]) -> None:
    """Export the networks that the stages need, and run the reference, where their files do not exist yet.

    Raises:
        SystemExit: the export fails; the reason is on stderr.
    """
    process = get_context("spawn").Process(target=_prepare, args=(models, needed_by))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _prepare(models: BenchmarkModels, needed_by: Collection[str]) -> None:
    try:
        with stages() as report:
            build(models, needed_by, report)
            if not models.reference_file.exists():
                report("running the reference in PyTorch")
                write_reference_data(models)
    except ToonifyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
