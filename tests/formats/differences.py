"""How far a network that was read from a file is from its official definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

FORMULA, RECORDED = "formula", "recorded output"
"""What a network is compared with, in the table's words."""

BOUNDS = {"levels": (1e-2, 1e-1, 1.0), "of the range": (1e-5, 1e-4)}
"""The bounds that the table names, by unit; the last one is the largest difference that a format may have."""


@dataclass(frozen=True)
class Difference:
    """The largest difference: of pictures in levels of 8 bits, of codes as a share of their range."""

    worst: float
    unit: str

    @property
    def bound(self) -> float:
        """The least of ``BOUNDS`` that holds, so that the table is the same on every machine; infinity if none does."""
        return next((bound for bound in BOUNDS[self.unit] if self.worst <= bound), float("inf"))

    def __str__(self) -> str:
        return f"{np.format_float_positional(self.bound, trim='-')} {self.unit}"


Compare = Callable[[Path], Difference]
"""Writes a file into a folder, reads it, and compares the network with its official definition."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        format: the project whose layout the file has.
        variant: what the file holds.
        against: what the network is compared with.
        compare: the comparison.
    """

    format: str
    variant: str
    against: str
    compare: Compare

    def __str__(self) -> str:
        return f"{self.format}, {self.variant}"


def of_pictures(got: Tensor, expected: Tensor) -> Difference:
    """Compare pictures in -1..1."""
    return Difference(float((got - expected).abs().max()) * 127.5, "levels")


def of_codes(got: Tensor, expected: Tensor) -> Difference:
    """Compare codes."""
    return Difference(float((got - expected).abs().max() / (expected.max() - expected.min())), "of the range")
