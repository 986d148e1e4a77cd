"""The schema of ``results/fleet.csv``: a row holds all tries of a fault in one fleet."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.records import RESULTS_FOLDER

FLEET = RESULTS_FOLDER / "fleet.csv"


@dataclass(frozen=True)
class FleetRow:
    """One fault of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started.
        commit: of this repository; "+changes" where the code differed from it.
        fault: what was done.
        replicas: number of servers.
        tries: how often it was done.
        calls: calls of the clients, before, during and after the fault.
        failed: those that got no picture within their deadline, whatever the client repeated.
        example: the first of these errors.
        recovered_s: seconds until all was as before, the longest of all tries.
        p95_before_ms: 95th percentile of the calls before each fault, in milliseconds.
        p95_during_ms: the same of the calls between the fault and the recovery.
        longest_ms: the longest call.
        device: the processor.
    """

    run: str
    commit: str
    fault: str
    replicas: int
    tries: int
    calls: int
    failed: int
    recovered_s: float
    p95_before_ms: float
    p95_during_ms: float
    longest_ms: float
    example: str = ""
    device: str = ""
