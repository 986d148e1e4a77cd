"""Everything that is made before the measurement, in a process that is gone when it begins."""

from __future__ import annotations

import sys
from collections.abc import Collection
from multiprocessing import get_context

from benchmarks.chain import write_chain
from benchmarks.networks import Models, build
from engines.contract.errors import ToonifyError
from serving.command_line import stages


def prepare_elsewhere(models: Models, wanted: Collection[str]) -> None:
    """Export what these stages need and run the reference, as far as it is not there yet.

    Raises:
        SystemExit: it cannot be done; why is on stderr.
    """
    process = get_context("spawn").Process(target=_prepare, args=(models, wanted))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _prepare(models: Models, wanted: Collection[str]) -> None:
    try:
        with stages() as report:
            build(models, wanted, report)
            if not models.chain.exists():
                report("running the reference in PyTorch")
                write_chain(models)
    except ToonifyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
