"""Queries on the growth rows and the start rows: those of the last runs, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.growth.live_rows import LIVE, LiveRow
from benchmarks.growth.start_rows import STARTS, StartRow
from benchmarks.latency.rows import LatencyRow, read_rows
from benchmarks.records import RESULTS_FOLDER, read_records
from benchmarks.rounds import Ratio, ratio_over_rounds

OneRun = TypeVar("OneRun", StartRow, LiveRow)

GROWTH = RESULTS_FOLDER / "growth.csv"

CAPTIONS = {
    "growth_resolution": "Milliseconds for one picture against its resolution",
    "growth_batch": "Milliseconds for one picture against the batch it is in",
    "growth_blends": "Memory and start of a server against the blends that it serves",
    "starts": "From the start of a server to its first answer, by model cache",
}
"""Captions of the plots, by name."""


@dataclass(frozen=True)
class LatestRows:
    """The rows of the last run that measured resolutions, and likewise of batches, starts and live models."""

    resolution: Sequence[LatencyRow]
    batch: Sequence[LatencyRow]
    starts: Sequence[StartRow]
    live: Sequence[LiveRow] = ()

    @property
    def blends(self) -> list[StartRow]:
        """Successful starts without a model cache, in the order of their number of blends."""
        return [row for row in self.starts if row.cache == "off" and row.first_s is not None]

    @property
    def cached(self) -> dict[str, StartRow]:
        """Successful starts with one blend, by the state of the model cache."""
        return {row.cache: row for row in self.starts if row.blends == 1 and row.first_s is not None}


def latest_rows(rows: Sequence[LatencyRow], starts: Sequence[StartRow], live: Sequence[LiveRow] = ()) -> LatestRows:
    """For each kind of measurement, the rows of the last run that has any."""

    def last(group: str) -> list[LatencyRow]:
        in_group = [row for row in rows if row.group == group]
        return [row for row in in_group if row.run == max(other.run for other in in_group)]

    return LatestRows(last("resolution"), last("batch"), _of_last_run(starts), _of_last_run(live))


def _of_last_run(rows: Sequence[OneRun]) -> list[OneRun]:
    latest = max((row.run for row in rows), default="")
    return [row for row in rows if row.run == latest]


def read_latest_rows() -> LatestRows:
    """The latest of the committed rows."""
    return latest_rows(read_rows(GROWTH), read_records(STARTS, StartRow), read_records(LIVE, LiveRow))


def plotted(latest: LatestRows) -> list[str]:
    """Names of the plots for which there are rows."""
    shown: Mapping[str, object] = {
        "growth_resolution": [row for row in latest.resolution if row.p50_ms],
        "growth_batch": [row for row in latest.batch if row.p50_ms],
        "growth_blends": len(latest.blends) > 1,
        "starts": latest.cached,
    }
    return [name for name, rows in shown.items() if rows]


def mib_per_blend(blends: Sequence[StartRow]) -> float | None:
    """Memory in MiB that each further blend takes on average; None unless two numbers of blends were measured."""
    sizes = {row.blends: row.pss_mib or 0 for row in blends}
    least, most = min(sizes, default=0), max(sizes, default=0)
    return (sizes[most] - sizes[least]) / (most - least) if most > least else None


def first_answer_ratio(start: StartRow, other: StartRow) -> Ratio:
    """The ratio of two starts' times to the first answer, round by round."""
    return ratio_over_rounds([a / b for a, b in zip(start.firsts, other.firsts, strict=False)])
