"""The light on a character: its direction, and the shade that parts cast on each other, estimated from depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from export.demo_models.characters.person import Person, smoothstep
from export.demo_models.characters.rasteriser import FAR, Values

SCALES = ((0.014, 3.6), (0.05, 1.7))
"""Radii of the occlusion that is estimated, as fractions of the crop, and the strength of each."""
SHADOW = 0.045
"""How far shadows reach, as a fraction of the crop."""


@dataclass(frozen=True)
class Light:
    """A large soft key light and its surroundings.

    Attributes:
        key: the direction of the key light, [3].
        tint: the colour of the key light, [3].
    """

    key: Values
    tint: Values


def light_of(person: Person) -> Light:
    """Return the light of a picture."""
    key = np.array([0.42 * person.trait("light_side"), 0.50, 0.80])
    warm = 0.05 * person.trait("light_warmth")
    return Light((key / np.linalg.norm(key)).astype(np.float32), np.array([1 + warm, 1, 1 - 1.3 * warm], np.float32))


def openness(depth: Values, light: Light, size: int, crop: float) -> tuple[Values, Values]:
    """Estimate how much of the surroundings and of the key light reaches each pixel, [size, size] in 0..1 each.

    This is screen-space ambient occlusion: a place is dark where its neighbourhood, or what lies towards the light, is
    nearer to the viewer than it is. ``crop`` is the side of the face's crop in pixels.
    """
    seen = depth > FAR / 2
    floor = depth[seen].min() - 0.5 if seen.any() else 0.0
    small = cv2.resize(np.where(seen, depth, np.float32(floor)), (size, size), interpolation=cv2.INTER_AREA)
    half = cv2.resize(small, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    ambient = np.ones_like(half)
    for radius, strength in SCALES:
        around = cv2.GaussianBlur(half, (0, 0), radius * crop / 2)
        ambient = ambient * np.exp(-strength * np.clip(around - half - 0.01, 0, 0.6))
    soft = cv2.GaussianBlur(half, (0, 0), 0.4 * SHADOW * crop / 2)
    shift = SHADOW * crop / 2 * light.key[:2] / light.key[2] * (1, -1)
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    towards = cv2.warpAffine(soft, moved, half.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    lit = cv2.GaussianBlur(1 - smoothstep(towards - half, 0.06, 0.34), (0, 0), 0.006 * crop)
    ambient, lit = (cv2.resize(shade, (size, size), interpolation=cv2.INTER_LINEAR) for shade in (ambient, lit))
    return np.asarray(ambient, np.float32), np.asarray(lit, np.float32)
