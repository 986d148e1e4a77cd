"""A rendered face for demonstrations, so that the package contains no person's photograph."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from engines.contract.arrays import Picture
from export.demo_models.characters.render import draw_character, draw_character_into
from export.demo_models.clips import room
from export.demo_models.traits import TraitCodes, random_codes
from serving.faces.alignment import Points

SEED = 344
"""The seed of a young woman without glasses who does not smile, so that every edit shows; no training set has her."""


def demo_code() -> TraitCodes:
    """Return the code of the demo's face, float32 [traits]."""
    code: TraitCodes = random_codes(1, SEED)[0]
    return code


def demo_face() -> Picture:
    """Render the face as an aligned crop, uint8 RGB [256, 256, 3]."""
    return draw_character(demo_code())


def demo_photograph() -> tuple[Picture, Points]:
    """Render the face off the centre of a photograph, rotated by 14 degrees.

    Returns:
        The photograph, uint8 RGB [480, 640, 3], and its five points in the order of
        ``serving.faces.landmarks.CANONICAL_POINTS``, [5, 2], x and y in pixels, the first pixel's centre being (0, 0).
    """
    side, angle, centre = 250, radians(14), np.array([350, 190])
    x = side * np.array([cos(angle), sin(angle)])
    y = np.array([-x[1], x[0]])
    return draw_character_into(room(640, 480), demo_code(), np.column_stack([x, y, centre - (x + y) / 2]))
