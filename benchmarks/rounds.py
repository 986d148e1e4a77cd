"""Rounds in which conditions take turns, and what their times say."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def alternating(conditions: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each condition once a round, there and back, so that what disturbs the machine hits all of them.

    Yields:
        The number of the round, from 0, and a condition.
    """
    for number in range(rounds):
        for condition in conditions if number % 2 == 0 else reversed(conditions):
            yield number, condition


def percentiles(times: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """The 5th, 50th and 95th percentile."""
    p5, p50, p95 = (float(value) for value in np.percentile(times, (5, 50, 95)))
    return p5, p50, p95


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
