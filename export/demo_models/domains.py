"""The two domains of the demo: photographs of characters, and cartoons of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """The position of a picture between photograph (0) and cartoon (1), in geometry and in surface."""

    structure: float
    texture: float


PHOTO, CARTOON = Domain(0, 0), Domain(1, 1)
TOON_PHOTO, PHOTO_TOON = Domain(structure=1, texture=0), Domain(structure=0, texture=1)
"""A cartoon's geometry with a photograph's surface, and the reverse: what blends of the two domains should show."""
TOON_HALF, PHOTO_HALF = Domain(structure=1, texture=0.5), Domain(structure=0, texture=0.5)
"""Either geometry with a surface halfway between the two."""

MEASURES = ("eye height", "chin width", "jaw width", "outline strength")
"""Quantities that layer swapping changes: three of structure, in pixels at 256, and one of texture, in 0..1."""
