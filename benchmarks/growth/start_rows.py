"""The schema of ``results/starts.csv``: a row holds all starts of the server in one case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.records import RESULTS_FOLDER, Status

STARTS = RESULTS_FOLDER / "starts.csv"

Cache = Literal["off", "empty", "filled"]
"""State of the model cache: "off" is without one, "empty" one that this start fills, "filled" by an earlier start."""


@dataclass(frozen=True)
class StartRow:
    """One case of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started, in which the cases alternated.
        time: UTC time at which the row was written.
        commit: of this repository; "+changes" where the code differed from it.
        blends: number of generators that the server serves, with one encoder and one ISF head.
        status: "interrupted" rows hold the finished starts; "failed" rows give their ``reason``.
        n: number of starts.
        first_s: median of the seconds from the start's call to the answer of the first request; ``firsts_s`` holds
            those of every start, separated by spaces.
        ready_s: median of the seconds until every ensemble has answered, which is when ``toonify serve`` is ready.
        p5_ms, p50_ms, p95_ms: time of one picture, one request at a time, from each blend in turn.
        pss_mib: memory of all the server's processes after these requests, shared pages counted once; the largest of
            the starts.
        rss_mib: the same with shared pages counted in every process.
        peak_mib: sum of every process's peak since its start, shared pages counted in each; the largest of the starts.
        processes: number of the server's processes.
        cache_mib: size of the model cache afterwards.
    """

    run: str
    time: str
    commit: str
    blends: int
    cache: Cache
    resolution: int
    engine: str
    precision: str
    status: Status
    reason: str = ""
    n: int = 0
    first_s: float | None = None
    firsts_s: str = ""
    ready_s: float | None = None
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    pss_mib: float | None = None
    rss_mib: float | None = None
    peak_mib: float | None = None
    processes: int = 0
    cache_mib: float | None = None
    device: str = ""
    versions: str = ""

    @property
    def firsts(self) -> list[float]:
        """Seconds to the first answer of every start."""
        return [float(part) for part in self.firsts_s.split()]
