"""Alternating rounds of benchmark cases, and the statistics of their times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def alternating(cases: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each case once a round, in alternating order, so that a disturbance of the machine affects all of them.

    Yields:
        The number of the round, from 0, and a case.
    """
    for number in range(rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            yield number, case


def percentiles(times: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """The 5th, 50th and 95th percentile."""
    p5, p50, p95 = (float(value) for value in np.percentile(times, (5, 50, 95)))
    return p5, p50, p95


def text_of_medians(rounds: Iterable[Sequence[float] | NDArray[np.float64]]) -> str:
    """Return the median of each round, separated by spaces, as a CSV's column holds them."""
    return " ".join(f"{np.median(times):.6g}" for times in rounds)


def medians_from_text(text: str) -> list[float]:
    """Return the medians of ``text_of_medians``."""
    return [float(part) for part in text.split()]


@dataclass(frozen=True)
class Ratio:
    """The ratio of two cases' times, taken round by round, since a disturbance affects both cases of a round."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def ratio_over_rounds(ratios: Sequence[float]) -> Ratio:
    """Summarise ratios, one for each round, by their median and range."""
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))
