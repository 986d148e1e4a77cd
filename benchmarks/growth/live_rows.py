"""The schema of ``results/live.csv``: a row holds what one way to serve blends takes of time and memory."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.records import RESULTS_FOLDER, Status
from benchmarks.rounds import medians_from_text

LIVE = RESULTS_FOLDER / "live.csv"

EXPORTED, TWO_EXPORTED = "an exported blend", "two exported blends"
HARD_SWAP, NEW_FRACTION = "live, hard swap", "live, new fraction in every call"
"""Names of the cases whose memory is compared."""


@dataclass(frozen=True)
class LiveRow:
    """One case of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started, in which the cases alternated.
        time: UTC time at which the row was written.
        commit: of this repository; "+changes" where the code differed from it.
        case: which models a process holds, and what is asked of them.
        batch: pictures in a call.
        status: "interrupted" rows hold the finished rounds; "failed" rows give their ``reason``.
        n: number of timed calls.
        p5_ms, p50_ms, p95_ms: time of a call.
        rounds_ms: the median of each round, separated by spaces; the rounds of one run correspond to each other.
        held_mib: memory of the process after the case's first calls, shared pages divided by the processes that share
            them; the cases of a live model follow each other, so that later ones hold the blends of earlier ones too.
    """

    run: str
    time: str
    commit: str
    case: str
    batch: int
    resolution: int
    engine: str
    precision: str
    status: Status
    reason: str = ""
    n: int = 0
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    rounds_ms: str = ""
    held_mib: float | None = None
    device: str = ""
    versions: str = ""

    @property
    def rounds(self) -> list[float]:
        """The median of each round in ms."""
        return medians_from_text(self.rounds_ms)
