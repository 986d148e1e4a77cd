"""Questions to the raw rows of growth and of starts: which are the last ones, and how do they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.growth.start_rows import STARTS, Start
from benchmarks.latency.rows import Row, read_rows
from benchmarks.records import RESULTS_FOLDER, read_records
from benchmarks.rounds import Ratio, spread

GROWTH = RESULTS_FOLDER / "growth.csv"

CAPTIONS = {
    "growth_resolution": "Milliseconds for one picture against its resolution",
    "growth_batch": "Milliseconds for one picture against the batch it is in",
    "growth_blends": "Memory and start of a server against the blends that it serves",
    "starts": "From the start of a server to its first answer, by model cache",
}
"""Of the plots, by name."""


@dataclass(frozen=True)
class Measured:
    """The rows of the last run of each kind."""

    resolution: Sequence[Row]
    batch: Sequence[Row]
    starts: Sequence[Start]

    @property
    def blends(self) -> list[Start]:
        """Starts without a model cache that succeeded, by the number of blends."""
        return [row for row in self.starts if row.cache == "off" and row.first_s is not None]

    @property
    def cached(self) -> dict[str, Start]:
        """Starts with one blend that succeeded, by the state of the model cache."""
        return {row.cache: row for row in self.starts if row.blends == 1 and row.first_s is not None}


def last_runs(rows: Sequence[Row], starts: Sequence[Start]) -> Measured:
    """Of each kind the rows of the run that was the last to measure any."""

    def last(group: str) -> list[Row]:
        found = [row for row in rows if row.group == group]
        return [row for row in found if row.run == max(other.run for other in found)]

    latest = max((row.run for row in starts), default="")
    return Measured(last("resolution"), last("batch"), [row for row in starts if row.run == latest])


def read_measured() -> Measured:
    """What the committed rows hold."""
    return last_runs(read_rows(GROWTH), read_records(STARTS, Start))


def plotted(found: Measured) -> list[str]:
    """Names of the plots for which there are rows."""
    shown: Mapping[str, object] = {
        "growth_resolution": [row for row in found.resolution if row.p50_ms],
        "growth_batch": [row for row in found.batch if row.p50_ms],
        "growth_blends": len(found.blends) > 1,
        "starts": found.cached,
    }
    return [name for name, rows in shown.items() if rows]


def further_blend(blends: Sequence[Start]) -> float | None:
    """MiB that one more blend takes on average; None where fewer than two numbers of blends were measured."""
    sizes = {row.blends: row.pss_mib or 0 for row in blends}
    least, most = min(sizes, default=0), max(sizes, default=0)
    return (sizes[most] - sizes[least]) / (most - least) if most > least else None


def against(start: Start, other: Start) -> Ratio:
    """Times to the first answer over those of another way to start, round by round."""
    return spread([a / b for a, b in zip(start.firsts, other.firsts, strict=False)])
