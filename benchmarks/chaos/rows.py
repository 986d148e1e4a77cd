"""The schema of ``results/chaos.csv``: a row holds all tries of a fault."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.records import RESULTS_FOLDER

CHAOS = RESULTS_FOLDER / "chaos.csv"


@dataclass(frozen=True)
class ChaosRow:
    """One fault of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started.
        commit: of this repository; "+changes" where the code differed from it.
        fault: what was done.
        tries: how often; for bad requests and messages their number.
        noticed_s: seconds until ``serve`` said that it restarts, the longest of all tries.
        served_s: seconds until it served again, the longest of all tries.
        answered: requests that were answered.
        refused: requests refused at the door, before they were accepted; of bad requests those refused as such.
        lost: requests that were accepted and not answered; of bad requests those that met another end.
        mib_before, mib_after: memory of the server's processes and their shared memory, around the fault.
        served: number and size of the python models.
        device: the processor.
    """

    run: str
    commit: str
    fault: str
    tries: int
    noticed_s: float | None = None
    served_s: float | None = None
    answered: int = 0
    refused: int = 0
    lost: int = 0
    mib_before: float | None = None
    mib_after: float | None = None
    served: str = ""
    device: str = ""
