"""Queries on the latency rows: the current ones, the ratio of two, the machine's limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.latency.rows import LatencyRow
from benchmarks.rounds import Ratio, ratio_over_rounds

CAPTIONS = {
    "generators": "Generator: milliseconds for one picture",
    "stages": "Where the time of one picture goes",
    "roofline": "Generator: arithmetic rate beside the machine's limits",
    "in_flight": "Whole service: latency and throughput against requests in flight",
}
"""Captions of the plots, by name."""


def measured(rows: Iterable[LatencyRow]) -> list[LatencyRow]:
    """The rows that have times."""
    return [row for row in rows if row.p50_ms is not None]


def devices(rows: Sequence[LatencyRow]) -> list[tuple[str, int]]:
    """Machines, with their numbers of threads, for which there are rows."""
    return sorted({(row.device, row.threads) for row in rows})


def current(rows: Sequence[LatencyRow], group: str, batch: int) -> list[LatencyRow]:
    """The rows of a group and a batch from the last run that measured any of them."""
    candidates = [row for row in rows if (row.group, row.batch) == (group, batch) and row.stage != "roof"]
    runs = {row.run for row in measured(candidates)} or {row.run for row in candidates}
    return [row for row in candidates if row.run == max(runs)]


def batches(rows: Iterable[LatencyRow]) -> list[int]:
    """Batch sizes for which there are rows."""
    return sorted({row.batch for row in rows})


def ratio(above: Sequence[LatencyRow], below: Sequence[LatencyRow]) -> Ratio | None:
    """The sum of some cases' times over the sum of others', round by round; None where a case was not measured."""
    if not measured(above) or len(measured([*above, *below])) != len(above) + len(below) or not below:
        return None
    tops, bottoms = (zip(*(row.rounds for row in side), strict=False) for side in (above, below))
    return ratio_over_rounds([sum(top) / sum(bottom) for top, bottom in zip(tops, bottoms, strict=False)])


def served_engines(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """The rows of the three engines that the ensemble consists of; rows that do not exist are missing from the list."""
    return [row for row in rows if row.served and row.stage in ("encoder", "isf", "generator")]


def gflops(row: LatencyRow) -> float:
    """Rate at the median time in 10^9 floating-point operations per second, two for each multiply-accumulate."""
    return 0.0 if row.p50_ms is None or row.gmac is None else 2e3 * row.gmac * row.batch / row.p50_ms


@dataclass(frozen=True)
class RooflineLimits:
    """The highest rates that a machine reached in one run.

    Attributes:
        gflops: arithmetic rate in GFLOP/s by precision, with the name of the microbenchmark that reached it.
        gbytes: memory rate of a copy in GB/s.
    """

    gflops: dict[str, tuple[float, str]]
    gbytes: float | None


def roofline_limits(rows: Iterable[LatencyRow], run: str) -> RooflineLimits:
    """A run's limits, from each microbenchmark's 5th percentile of time, so that no model's fraction is overstated."""
    roofs = [row for row in rows if row.run == run and row.stage == "roof" and row.p5_ms]
    best: dict[str, tuple[float, str]] = {}
    for row in roofs:
        reached = 2e3 * (row.gmac or 0) / (row.p5_ms or 1), row.engine
        if row.gmac:
            best[row.precision] = max(reached, best.get(row.precision, reached))
    copies = [1e3 * (row.gbyte or 0) / (row.p5_ms or 1) for row in roofs if not row.gmac]
    return RooflineLimits(best, max(copies, default=None))


def plotted(rows: Sequence[LatencyRow]) -> dict[str, list[LatencyRow]]:
    """The rows of each plot that can be drawn, by its name: batch 1 on the machine of the last run."""
    if not rows:
        return {}
    last = max(rows, key=lambda row: row.time)
    rows = [row for row in rows if (row.device, row.threads) == (last.device, last.threads)]
    generators = measured(current(rows, "generators", 1))
    stages = measured(current(rows, "stages", 1))
    flights = [row for row in stages if row.stage == "ensemble"]
    limited = generators if generators and roofline_limits(rows, generators[0].run).gflops else []
    shown = {
        "generators": generators,
        "stages": _breakdown(stages),
        "roofline": limited,
        "in_flight": flights if len(flights) > 1 else [],
    }
    return {name: chosen for name, chosen in shown.items() if chosen}


def _breakdown(stages: Sequence[LatencyRow]) -> list[LatencyRow]:
    """The served engines, the pipeline and the ensemble, one request at a time; empty where an engine is missing."""
    engines = served_engines(stages)
    wholes = [row for row in stages if row.stage in ("pipeline", "ensemble") and row.in_flight == 1]
    return [*engines, *wholes] if len(engines) == 3 and wholes else []
