"""A character's traits as smooth functions of a code, so that no detail jumps where an attribute changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from export.demo_models.traits import INDEX

STEEPNESS = 7.0
"""The steepness of attributes at 0: those of random codes, 0.2 or more, show to 95 % or more."""


@dataclass(frozen=True)
class Variation:
    """How a person looks in ways that no trait describes; by default like every character.

    Attributes:
        bare: the angle by which the hairline above the forehead is raised, in degrees.
        thickness: the hair's thickness relative to characters'.
        exchanged: how far men have women's hair and women have men's, 0..1.
        stubble: how far a beard is short and thin, 0..1.
    """

    bare: float = 0.0
    thickness: float = 1.0
    exchanged: float = 0.0
    stubble: float = 0.0


CHARACTER = Variation()


@dataclass(frozen=True)
class Person:
    """A code's traits.

    Args:
        code: normalised traits, float32 [traits].
        variation: what no trait describes.
    """

    code: NDArray[np.float32]
    variation: Variation = CHARACTER

    def trait(self, name: str) -> float:
        """Return a trait, smoothly limited to -2.5..2.5."""
        return float(2.5 * np.tanh(self.code[INDEX[name]] / 2.5))

    def has(self, attribute: str) -> float:
        """Return how far an attribute is present: 0 = absent, 1 = present."""
        return float(0.5 + 0.5 * np.tanh(STEEPNESS * self.code[INDEX[attribute]]))

    @property
    def fringe(self) -> float:
        """How far the hair covers the forehead: 1 without a parting, 0 with one on either side."""
        return float(np.exp(-((self.trait("parting") / 0.5) ** 2))) * (1 - 0.45 * self.has("gender"))

    @property
    def length(self) -> float:
        """The length of hanging hair in decimetres below the temples; 0 for short hair."""
        return float(softplus(0.85 + 0.55 * self.trait("hair_length"), 0.25)) * (1 - self.short)

    @property
    def short(self) -> float:
        """How far the hair is short like men's, 0..1."""
        return self.has("gender") + self.variation.exchanged * (1 - 2 * self.has("gender"))

    @property
    def hanging(self) -> float:
        """How far hair hangs instead of lying on the skull, 0..1."""
        return float(smoothstep(self.length, 0.05, 0.5))

    @property
    def growth(self) -> float:
        """The beard's growth: 0 = shaved, 1 = full."""
        return float(smoothstep(self.trait("beard"), -1.2, 1.2)) * self.has("gender")


def smoothstep(x: ArrayLike, start: float, end: float) -> NDArray[np.float32]:
    """Rise smoothly from 0 at ``start`` to 1 at ``end``."""
    t = np.clip((np.asarray(x, np.float32) - np.float32(start)) / np.float32(end - start), 0, 1)
    rise: NDArray[np.float32] = t * t * (3 - 2 * t)
    return rise


def softplus(x: float, width: float) -> float:
    """Return max(x, 0), rounded over ``width``."""
    return float(width * np.logaddexp(0, x / width))
