"""Questions to the raw rows: which are current, how do two compare, how near is one to the machine's limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.latency.rows import Row
from benchmarks.rounds import Ratio, spread

CAPTIONS = {
    "generators": "Generator: milliseconds for one picture",
    "stages": "Where the time of one picture goes",
    "roofline": "Generator: arithmetic rate beside the machine's limits",
    "in_flight": "Whole service: latency and throughput against requests in flight",
}
"""Of the plots, by name."""


def measured(rows: Iterable[Row]) -> list[Row]:
    """Rows with times."""
    return [row for row in rows if row.p50_ms is not None]


def devices(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Machines and numbers of threads of which there are rows."""
    return sorted({(row.device, row.threads) for row in rows})


def current(rows: Sequence[Row], group: str, batch: int) -> list[Row]:
    """The rows of a group and a batch from the last run that measured any of them."""
    found = [row for row in rows if (row.group, row.batch) == (group, batch)]
    found = [row for row in found if row.stage != "roof"]
    runs = {row.run for row in measured(found)} or {row.run for row in found}
    return [row for row in found if row.run == max(runs)]


def batches(rows: Iterable[Row]) -> list[int]:
    """Batch sizes of which there are rows."""
    return sorted({row.batch for row in rows})


def ratio(above: Sequence[Row], below: Sequence[Row]) -> Ratio | None:
    """The sum of some conditions' times over that of others, round by round; None where one was not measured."""
    if not measured(above) or len(measured([*above, *below])) != len(above) + len(below) or not below:
        return None
    tops, bottoms = (zip(*(row.rounds for row in side), strict=False) for side in (above, below))
    return spread([sum(top) / sum(bottom) for top, bottom in zip(tops, bottoms, strict=False)])


def served_engines(rows: Sequence[Row]) -> list[Row]:
    """The rows of the three engines that the ensemble consists of, as far as there are any."""
    return [row for row in rows if row.served and row.stage in ("encoder", "isf", "generator")]


def gflops(row: Row) -> float:
    """10^9 floating-point operations per second, two for each multiply-accumulate, at the median time."""
    return 0.0 if row.p50_ms is None or row.gmac is None else 2e3 * row.gmac * row.batch / row.p50_ms


@dataclass(frozen=True)
class Roof:
    """The most that a machine did in one run: GFLOP/s by precision with what did it, and GB/s of a copy."""

    gflops: dict[str, tuple[float, str]]
    gbytes: float | None


def roof(rows: Iterable[Row], run: str) -> Roof:
    """The roof of a run: each kind's 5th percentile of time, so the fraction that a model reaches is not flattered."""
    roofs = [row for row in rows if row.run == run and row.stage == "roof" and row.p5_ms]
    best: dict[str, tuple[float, str]] = {}
    for row in roofs:
        found = 2e3 * (row.gmac or 0) / (row.p5_ms or 1), row.engine
        if row.gmac:
            best[row.precision] = max(found, best.get(row.precision, found))
    copies = [1e3 * (row.gbyte or 0) / (row.p5_ms or 1) for row in roofs if not row.gmac]
    return Roof(best, max(copies, default=None))


def plotted(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """What each plot shows, of those that can be drawn: batch 1 on the machine of the last run."""
    if not rows:
        return {}
    last = max(rows, key=lambda row: row.time)
    rows = [row for row in rows if (row.device, row.threads) == (last.device, last.threads)]
    generators = measured(current(rows, "generators", 1))
    stages = measured(current(rows, "stages", 1))
    flights = [row for row in stages if row.stage == "ensemble"]
    limited = generators if generators and roof(rows, generators[0].run).gflops else []
    shown = {
        "generators": generators,
        "stages": _breakdown(stages),
        "roofline": limited,
        "in_flight": flights if len(flights) > 1 else [],
    }
    return {name: chosen for name, chosen in shown.items() if chosen}


def _breakdown(stages: Sequence[Row]) -> list[Row]:
    """The served engines and the wholes of them, one request at a time; none where an engine was not measured."""
    engines = served_engines(stages)
    wholes = [row for row in stages if row.stage in ("pipeline", "ensemble") and row.in_flight == 1]
    return [*engines, *wholes] if len(engines) == 3 and wholes else []
