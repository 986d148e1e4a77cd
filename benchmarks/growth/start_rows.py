"""The schema of ``results/starts.csv``: one row is one way to start the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.records import RESULTS_FOLDER, Status

STARTS = RESULTS_FOLDER / "starts.csv"

Cache = Literal["off", "empty", "filled"]
"""No model cache; one that this start fills; one that an earlier start has filled."""


@dataclass(frozen=True)
class Start:
    """One condition of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started; the conditions of a run alternated.
        time: UTC time at which the row was written.
        commit: of this repository; "+changes" where the code differed from it.
        blends: generators that the server serves, beside one encoder and one ISF head.
        status: "interrupted" rows hold the starts that were finished; "failed" ones say why in ``reason``.
        n: starts.
        first_s: from the call to the answer of the first request, median; every start's in ``firsts_s``.
        ready_s: until every ensemble has answered, as ``toonify serve`` waits for, median.
        p5_ms, p50_ms, p95_ms: of one picture, the blends asked in turn, one request at a time.
        pss_mib: of all processes of the server after these, shared pages counted once; largest of the starts.
        rss_mib: the same, shared pages counted in every process.
        peak_mib: sum of every process's peak since its start, shared pages counted in each; largest of the starts.
        processes: of the server.
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
