"""How two conditions compare whose rounds alternated."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Of two conditions, round by round: what disturbs the machine hits both of a round."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def spread(ratios: Sequence[float]) -> Ratio:
    """Of one ratio for each round."""
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))
