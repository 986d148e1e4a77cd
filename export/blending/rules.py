"""Rules for two models: alpha, the transferred model's share, as a pure function of the layer group.

``HardSwap`` is the paper's rule (Pinkney & Adler, arXiv 2010.05334, equations 2 and 5); the others are its further
work (appendix C). ``check`` refuses parameters that do not fit a generator's resolution; ``alpha`` is within 0..1 for
all parameters that pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, log2, tanh
from typing import Protocol

from engines.contract.blends import swapped_share
from engines.contract.errors import BlendError
from engines.contract.tensors import rows_of
from export.blending.groups import Group, groups_of


class Rule(Protocol):
    """The interface of schedules and presets for two models."""

    def check(self, resolution: int) -> None:
        """Raise BlendError if the parameters do not fit a generator of this resolution."""

    def alpha(self, group: Group) -> float:
        """Return the transferred model's share in a group, within 0..1."""


@dataclass(frozen=True)
class HardSwap:
    """alpha = 1 if r <= r_swap, else 0.

    An r_swap below 4 takes every layer from the base, and one at the generator's resolution every layer from the
    transferred model.
    """

    r_swap: int

    def check(self, resolution: int) -> None:
        check_resolution("r_swap", self.r_swap, 1, resolution)

    def alpha(self, group: Group) -> float:
        return swapped_share(group.resolution, self.r_swap)


@dataclass(frozen=True)
class Sigmoid:
    """alpha = 1 / (1 + exp((log2 r - log2 centre - 0.5) / width)).

    It tends to ``HardSwap(centre)`` as the width tends to 0.
    """

    centre: int
    width: float

    def check(self, resolution: int) -> None:
        check_resolution("the sigmoid's CENTRE", self.centre, 1, resolution)
        check_width("the sigmoid's WIDTH", self.width)

    def alpha(self, group: Group) -> float:
        return falling_sigmoid((group.level - log2(self.centre) - 0.5) / self.width)


@dataclass(frozen=True)
class Linear:
    """alpha falls linearly in log2 r: 1 up to ``start``, 0 from ``end`` on."""

    start: int
    end: int

    def check(self, resolution: int) -> None:
        check_resolution("the linear schedule's A", self.start, 1, resolution)
        check_resolution("the linear schedule's B", self.end, 2 * self.start, 2 * resolution)

    def alpha(self, group: Group) -> float:
        fraction = (log2(self.end) - group.level) / (log2(self.end) - log2(self.start))
        return min(max(fraction, 0.0), 1.0)


@dataclass(frozen=True)
class PerResolution:
    """One alpha for each resolution."""

    alphas: Mapping[int, float]

    def check(self, resolution: int) -> None:
        expected = {group.resolution for group in groups_of(resolution)}
        if self.alphas.keys() != expected:
            raise BlendError(
                "The per-resolution schedule",
                got=f"resolutions {', '.join(map(str, sorted(self.alphas)))}",
                expected=", ".join(map(str, sorted(expected))),
                remedy="give one value for each resolution of the generator",
            )

    def alpha(self, group: Group) -> float:
        return self.alphas[group.resolution]


@dataclass(frozen=True)
class PerRow:
    """One alpha for each row of W+, as in VToonify's vectors; the constant, which no row modulates, is the base's.

    toRGB of r shares its row, and therefore its alpha, with the upsampling convolution of 2r.
    """

    alphas: tuple[float, ...]

    def check(self, resolution: int) -> None:
        if len(self.alphas) != rows_of(resolution):
            raise BlendError(
                "The per-row schedule",
                got=f"{len(self.alphas)} values",
                expected=f"{rows_of(resolution)}, the rows of W+ at {resolution}",
                remedy="give one value for each row",
            )

    def alpha(self, group: Group) -> float:
        return 0.0 if group.row is None else self.alphas[group.row]


def falling_sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(x)), computed without overflow."""
    return 0.5 * (1 - tanh(x / 2))


def check_resolution(subject: str, value: int, lowest: int, highest: int) -> None:
    """Raise BlendError unless ``value`` is a power of two within the bounds."""
    if value < 1 or value.bit_count() != 1 or not lowest <= value <= highest:
        raise BlendError(
            subject,
            got=str(value),
            expected=f"a power of two from {lowest} to {highest}",
            remedy="choose one of the generator's resolutions",
        )


def check_width(subject: str, width: float) -> None:
    """Raise BlendError unless ``width`` is a positive number."""
    if not isfinite(width) or width <= 0:
        raise BlendError(
            subject, got=f"{width:g}", expected="a positive number", remedy="use the hard rule for a sharp cut"
        )
