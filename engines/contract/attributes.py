"""The values that an attribute takes: a label of the face, or the way along a direction in W+."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class AttributeRange:
    """The range of an attribute's values.

    ``rest`` is the value that changes nothing, which holds where a request does not name the attribute; values outside
    ``low`` to ``high`` are refused. A label has no ``rest``, since what changes nothing depends on the face, and its
    values beyond 0 and 1 extrapolate.
    """

    low: float = 0.0
    high: float = 1.0
    rest: float | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the numbers are finite and in order."""
        rest = self.low if self.rest is None else self.rest
        return isfinite(self.low) and isfinite(self.high) and self.low < self.high and self.low <= rest <= self.high


LABEL = AttributeRange()
"""The range of an ISF head's attributes: 0 and 1."""

Ranges = Mapping[str, AttributeRange]
"""The ranges of a head of directions by the attributes' names, in the tensor's order; empty for a head with labels."""

ATTRIBUTE_RANGES = "attribute_ranges"
"""Name of the parameter by which a served model tells the ranges of its attributes."""


def range_parameters(ranges: Ranges) -> dict[str, str]:
    """Return the parameters by which a served model tells its ranges; none for labels."""
    texts = (f"{name}:{r.low!r}:{r.high!r}:{r.rest!r}" for name, r in ranges.items())
    return {ATTRIBUTE_RANGES: ",".join(texts)} if ranges else {}


def ranges_from_text(text: str) -> dict[str, AttributeRange]:
    """Read the parameter ``ATTRIBUTE_RANGES``; an empty text stands for labels."""
    parts = (part.rsplit(":", 3) for part in text.split(",") if part)
    return {name: AttributeRange(*map(float, numbers)) for name, *numbers in parts}
