"""A character's hair: one surface from the crown over the skull to the hairline, or hanging beside the face.

Its vertices form a grid: columns go round the head, rows from the crown to the hair's ends. All styles have the same
grid, so that length, volume, parting, fringe and waves change it smoothly.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.head import Vectors, read_head
from export.demo_models.characters.parts import Material, Part, grid_part
from export.demo_models.characters.person import Person, smoothstep
from export.demo_models.characters.shape import Figure

ROWS, COLUMNS = 30, 112
CENTRE = np.array([0.0, 0.30, -0.62], np.float32)
"""The middle of the mean skull."""
TILT = 0.38
"""How far the crown lies behind the skull's top, in radians."""
SMOOTHING = 0.13
"""The width, in radians, over which the skull's vertices are averaged."""
HAIRLINE = {0: 80, 25: 83, 48: 92, 62: 104, 76: 114, 92: 112, 120: 122, 150: 134, 180: 138}
"""The hairline's angle from the crown by the angle from the front, both in degrees."""
LEAST_HAIRLINE = 58
"""The least angle of a hairline that a variation raises, in degrees: a head has no skin above it."""
DROP = 86
"""The angle from the crown, in degrees, from which long hair hangs."""
LOCKS = 26
MAP = (32, 48)
"""Rows and columns of the map of the skull."""


def hair_part(figure: Figure) -> Part:
    """Return the hair's mesh; its channels are the angle round the head, the row's fraction, and how far it hangs."""
    person = figure.person
    around, along = _grid()
    skull = _skull_map(figure)
    lying, normals = _lying(skull, person, around, along)
    hanging, outwards = _hanging(skull, person, around, along)
    side = smoothstep(np.abs(around), np.radians(46), np.radians(74)) * person.hanging
    side = np.broadcast_to(side, lying.shape[:2])[..., None]
    base = lying + side * (hanging - lying)
    out = normals + side * (outwards - normals)
    points = base + out * _thickness(person, figure.structure, around, along)[..., None]
    points = points + _waves(person, around, along)[..., None] * out * side
    channels = [around, along[::-1], side[::-1, :, 0]]
    # Only hanging hair shows its inside.
    free = np.repeat(((along[:-1, 0] > 0.4) & (person.hanging > 0.01))[::-1], COLUMNS)
    return grid_part(points[::-1], Material.HAIR, channels, closed=True, two_sided=free)


def _grid() -> tuple[Vectors, Vectors]:
    """Return the angle round the head of each column, [1, COLUMNS], and the fraction of each row, [ROWS, 1]."""
    even = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    # More columns at the front, where the hair's edge changes fast.
    around = even - 0.35 * np.sin(even)
    along = np.linspace(0, 1, ROWS) ** 0.9
    return np.asarray(around[None], np.float32), np.asarray(along[:, None], np.float32)


def _hairline(person: Person, around: Vectors) -> Vectors:
    """Return the angle from the crown at which the hair ends, in radians, [1, COLUMNS]."""
    degrees = np.abs(np.degrees(around))
    line = np.interp(degrees, list(HAIRLINE), list(HAIRLINE.values()))
    kernel = np.hanning(9) / np.hanning(9).sum()
    line = np.convolve(np.concatenate([line[0, -4:], line[0], line[0, :4]]), kernel, "valid")[None]
    receding = 9 * person.has("age") * person.has("gender") * np.exp(-(((degrees - 28) / 20) ** 2))
    front = np.exp(-((degrees / 44) ** 4))
    fringe = 26 * person.fringe * front
    notch = (1 - person.fringe) * 7 * np.exp(-(((np.degrees(around) - 26 * np.tanh(person.trait("parting"))) / 9) ** 2))
    line = line - receding + fringe - notch
    bare = np.maximum(np.minimum(line, LEAST_HAIRLINE), line - person.variation.bare * front)
    return np.asarray(np.radians(bare), np.float32)


def _lying(skull: Vectors, person: Person, around: Vectors, along: Vectors) -> tuple[Vectors, Vectors]:
    """Return points on the skull and their outward directions, [ROWS, COLUMNS, 3] each."""
    angle = along * _hairline(person, around)
    directions = _directions(np.broadcast_to(around, angle.shape), angle)
    return _skull(skull, around, angle), directions


def _hanging(skull: Vectors, person: Person, around: Vectors, along: Vectors) -> tuple[Vectors, Vectors]:
    """Return the same for hair that falls down beside the face."""
    half = np.float32(0.45)
    angle = (np.radians(DROP) * np.minimum(along / half, 1) + 0 * around).astype(np.float32)
    directions = _directions(np.broadcast_to(around, angle.shape), angle)
    points = _skull(skull, around, angle)
    fall = np.maximum(along - half, 0) / (1 - half) * (0.75 + person.length)
    points[..., 1] -= fall
    level = directions * np.array([1, 0.15, 1], np.float32)
    level /= np.linalg.norm(level, axis=-1, keepdims=True) + 1e-6
    out = directions + smoothstep(angle, 0.9, 1.5)[..., None] * (level - directions)
    flare = 0.05 + 0.07 * person.trait("hair_volume") * 0.5
    points = points + out * (flare * smoothstep(fall, 0, 1.0) - 0.16 * smoothstep(fall, 0.55, 1.6))[..., None]
    # The curtain's front edge follows the cheek.
    points[..., 2] -= 0.10 * fall * np.exp(-(((np.abs(around) - 1.15) / 0.3) ** 2))
    return points.astype(np.float32), out.astype(np.float32)


def _directions(around: Vectors, angle: Vectors) -> Vectors:
    """Return unit vectors by the angle round the head, 0 in front, and the angle from the crown."""
    up = np.array([0, np.cos(TILT), -np.sin(TILT)], np.float32)
    forth = np.array([0, np.sin(TILT), np.cos(TILT)], np.float32)
    right = np.array([1, 0, 0], np.float32)
    flat = np.sin(around)[..., None] * right + np.cos(around)[..., None] * forth
    return np.asarray(np.cos(angle)[..., None] * up + np.sin(angle)[..., None] * flat, np.float32)


@cache
def _cranium() -> tuple[NDArray[np.int64], Vectors]:
    """Return the vertices that form the skull and the neck without ears, and their directions from its middle."""
    head = read_head()
    x, y, z = head.vertices.T
    ears = (np.abs(x) > 0.66) & (y > -0.62) & (y < 0.2) & (z < -0.2)
    inside = (head.lips < 1) | (head.lids < 1)
    chosen = np.flatnonzero(~ears & ~inside & (y > -1.1) & (y > -0.35 - 0.55 * (z < -0.5)))
    away = head.vertices[chosen] - CENTRE
    return chosen, (away / np.linalg.norm(away, axis=1, keepdims=True)).astype(np.float32)


@cache
def _skull_weights() -> Vectors:
    """Return how the radii of a map of the skull average those of the vertices, [MAP rows * MAP columns, vertices]."""
    _, own = _cranium()
    rows, columns = MAP
    angle = np.linspace(0, np.pi, rows, dtype=np.float32)[:, None]
    around = np.linspace(-np.pi, np.pi, columns, dtype=np.float32)[None]
    directions = _directions(np.broadcast_to(around, MAP), np.broadcast_to(angle, MAP)).reshape(-1, 3)
    weights = np.exp((directions @ own.T - 1) / np.float32(SMOOTHING**2))
    return np.asarray(weights / (weights.sum(1, keepdims=True) + 1e-9), np.float32)


def _skull_map(figure: Figure) -> Vectors:
    """Return the skull's smoothed radius by the angle from the crown (rows) and round the head (columns)."""
    chosen, _ = _cranium()
    radii = np.linalg.norm(figure.vertices[chosen] - CENTRE, axis=1)
    return np.asarray(_skull_weights() @ radii.astype(np.float32), np.float32).reshape(MAP)


def _skull(skull: Vectors, around: Vectors, angle: Vectors) -> Vectors:
    """Return the skull's points at angles round the head and from the crown, [..., 3]."""
    rows, columns = MAP
    x = (around / (2 * np.pi) + 0.5) * (columns - 1) + 0 * angle
    y = angle / np.pi * (rows - 1) + 0 * around
    radius = cv2.remap(
        skull, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(CENTRE + _directions(np.broadcast_to(around, angle.shape), angle) * radius[..., None], np.float32)


def _thickness(person: Person, structure: float, around: Vectors, along: Vectors) -> Vectors:
    """Return the hair's thickness over the skull, [ROWS, COLUMNS]."""
    volume, man, parting = person.trait("hair_volume"), person.has("gender"), person.trait("parting")
    front = np.exp(-((around / 1.1) ** 2))
    body = 0.13 + 0.022 * volume + 0.05 * (1 - man) + 0.03 * structure
    top = (0.05 + 0.03 * volume + 0.06 * man) * front * smoothstep(along, 0.25, 0.85)
    sides = -0.055 * man * smoothstep(np.abs(around), 0.9, 1.5)
    sweep = 1 + 0.22 * np.tanh(parting) * np.sin(around) * front * smoothstep(along, 0.2, 0.8)
    line = 0.45 * np.tanh(parting)
    groove = (1 - person.fringe) * np.exp(-(((around - line) / 0.10) ** 2)) * smoothstep(along, 0.12, 0.4)
    locks = 0.010 * np.cos(LOCKS * around + 1.5 * along) * smoothstep(along, 0.15, 0.5)
    edge = np.sqrt(np.maximum(1 - (np.clip((along - 0.80) / 0.20, 0, 1)) ** 2, 0))
    thickness = person.variation.thickness * (body + top + sides) * sweep * (1 - 0.5 * groove)
    return np.asarray((thickness + locks) * edge + 0.004, np.float32)


def _waves(person: Person, around: Vectors, along: Vectors) -> Vectors:
    """Return by how much waves push hanging hair outwards, [ROWS, COLUMNS]."""
    strength = 0.035 * smoothstep(person.trait("hair_wave"), -0.8, 2.0)
    return np.asarray(strength * np.sin(10.5 * along + np.cos(3 * around)) * smoothstep(along, 0.45, 0.7), np.float32)
