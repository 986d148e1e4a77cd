"""A character's glasses: two rims, a bridge and temples, and the lenses' outlines."""

from __future__ import annotations

import numpy as np

from export.demo_models.characters.head import Vectors
from export.demo_models.characters.parts import Material, Part, grid_part, tube
from export.demo_models.characters.person import softplus
from export.demo_models.characters.shape import Figure

POINTS = 40


def glasses_parts(figure: Figure) -> list[Part]:
    """Return the frames' meshes."""
    radius = (0.017 + 0.006 * figure.structure) * figure.person.has("glasses")
    parts = []
    rims = [rim(figure, side) for side in (1, -1)]
    for line in rims:
        parts.append(_tube(line, radius, closed=True))
    inner = [line[np.argmin(np.abs(line[:, 0]) + 0.6 * np.abs(line[:, 1] - line[:, 1].mean() - 0.05))] for line in rims]
    share = np.linspace(0, 1, 9)[:, None]
    bridge = inner[1] + share * (inner[0] - inner[1]) + np.sin(np.pi * share) * (0, 0.03, 0.035)
    parts.append(_tube(bridge, radius))
    for side, line in zip((1, -1), rims, strict=True):
        hinge = line[np.argmax(side * line[:, 0] + 0.5 * line[:, 1])]
        ear = np.array([side * max(abs(hinge[0]) + 0.05, 0.80 + 0.04 * figure.structure), hinge[1] + 0.02, -0.55])
        path = hinge + np.linspace(0, 1, 10)[:, None] * (ear - hinge) + np.array([side * 0.02, 0, 0])
        parts.append(_tube(path, radius * 0.9))
    return parts


def rim(figure: Figure, side: int) -> Vectors:
    """Return a rim's middle line, [POINTS, 3]; the image-right one for side 1."""
    person = figure.person
    eye = figure.eyes[0 if side > 0 else 1]
    size = (1 + 0.09 * person.trait("frame_size")) * (1 + 0.40 * figure.structure)
    power = 2 + softplus(0.9 + 0.8 * person.trait("frame_shape"), 0.4)
    turn = 2 * np.pi * np.arange(POINTS) / POINTS
    c, s = np.cos(turn), np.sin(turn)
    x = 0.215 * size * np.sign(c) * np.abs(c) ** (2 / power)
    y = 0.185 * size * np.sign(s) * np.abs(s) ** (2 / power)
    centre = abs(eye.centre[0]) + 0.02
    gap = 0.045
    x = np.maximum(centre + x, gap + 0.15 * (centre + x)) * side
    front = max(figure.eyes[0].centre[2] + figure.eyes[0].radii[2] + 0.13 + 0.05 * figure.structure, 0.32)
    z = front - 0.16 * x**2 - 0.10 * y
    return np.asarray(np.stack([x, eye.centre[1] - 0.03 + y, z], 1), np.float32)


def _tube(path: Vectors, radius: float, *, closed: bool = False) -> Part:
    radii = np.full((len(path), 2), radius, np.float32)
    return grid_part(tube(path, radii, closed=closed), Material.FRAME, [], closed=True, two_sided=True)
