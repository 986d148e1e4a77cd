"""A character's skin, teeth and clothes: the head's mesh with what its surface needs."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.hair import CENTRE, TILT
from export.demo_models.characters.head import Vectors, read_head
from export.demo_models.characters.parts import CHANNELS, Material, Part, vertex_normals
from export.demo_models.characters.person import smoothstep
from export.demo_models.characters.shape import Figure

COVERED = np.radians(56)
"""The angle from the crown up to which hair covers every head."""
LIPS, BEARD, CLOTH, LIDS, ACROSS, UP, FORTH = range(CHANNELS)
"""The channels of skin: ring round the mouth, share of beard, distance below the collar, ring round the eye, and the
place on the mean head."""


def body_part(figure: Figure) -> Part:
    """Return the mesh of head, neck and clothes."""
    head, person = figure.head, figure.person
    kept = ~_scalp()[head.quads].all(1)
    points = figure.vertices.copy()
    channels = _fixed_channels().copy()
    channels[:, BEARD] *= person.growth
    thickness = person.growth * (1 - person.variation.stubble)
    points += vertex_normals(points, head.quads[kept]) * _swelling(channels, thickness)[:, None]
    ears = smoothstep(np.abs(head.vertices[:, 0]), 0.6, 0.8) * smoothstep(
        -np.abs(head.vertices[:, 1] + 0.2), -0.5, -0.3
    )
    points[:, 0] *= 1 - 0.10 * ears * person.hanging
    materials = np.full(int(kept.sum()), int(Material.SKIN))
    return Part(points.astype(np.float32), head.quads[kept], materials, channels)


@cache
def _scalp() -> NDArray[np.bool_]:
    """Return which vertices hair always covers."""
    away = read_head().vertices - CENTRE
    up = np.array([0, np.cos(TILT), -np.sin(TILT)], np.float32)
    covered: NDArray[np.bool_] = away @ up > np.cos(COVERED) * np.linalg.norm(away, axis=1)
    return covered


@cache
def _fixed_channels() -> Vectors:
    head = read_head()
    x, y, z = head.vertices.T
    channels = np.zeros((len(x), CHANNELS), np.float32)
    channels[:, LIPS] = head.lips
    channels[:, LIDS] = head.lids
    jaw = smoothstep(-y, 0.28, 0.62) * smoothstep(z, -0.52, -0.30) * smoothstep(y, -1.45, -1.12)
    cheek = smoothstep(-y - 0.55 * np.maximum(0.42 - np.abs(x), 0), 0.36, 0.60)
    upper = np.exp(-((x / 0.27) ** 4)) * smoothstep(-y, 0.50, 0.57) * (y > -0.72)
    lips = smoothstep(head.lips, 3.6, 5.4)
    channels[:, BEARD] = np.maximum(jaw * cheek, upper) * lips * (head.lips > 0) * (z > -0.6)
    neckline = -1.38 + 0.30 * np.clip(-z - 0.2, 0, 1) - 0.12 * np.exp(-((x / 0.35) ** 2)) * (z > -0.5)
    channels[:, CLOTH] = neckline - y
    channels[:, ACROSS : FORTH + 1] = head.vertices
    return channels


def _swelling(channels: Vectors, beard: float) -> NDArray[np.float32]:
    """Return how far clothes and beard lie above the skin, [V]."""
    below = channels[:, CLOTH]
    collar = np.exp(-(((below - 0.12) / 0.14) ** 2))
    cloth = 0.05 * smoothstep(below, -0.14, 0.08) + 0.03 * collar
    return np.asarray(cloth + 0.06 * beard * smoothstep(channels[:, BEARD], 0.1, 0.9), np.float32)
