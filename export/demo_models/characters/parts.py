"""The parts of a character: meshes with a material and, at each vertex, the values that its surface needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.head import Quads, Vectors


class Material(IntEnum):
    """What a triangle is made of."""

    SKIN = 0
    CLOTH = 1
    TEETH = 2
    LASH = 3
    EYE = 4
    BROW = 5
    HAIR = 6
    FRAME = 7


CHANNELS = 7
"""The number of values at each vertex, besides its position and its normal."""


@dataclass(frozen=True)
class Part:
    """A mesh of quads.

    Attributes:
        points: positions, [V, 3].
        quads: the vertices of each quad, [F, 4].
        materials: the material of each quad, [F].
        channels: values that depend on the material, [V, CHANNELS].
        two_sided: whether the quads can be seen from behind too, for each [F] or for all.
    """

    points: Vectors
    quads: Quads
    materials: NDArray[np.int64]
    channels: Vectors
    two_sided: bool | NDArray[np.bool_] = False


def grid_part(
    points: Vectors,
    material: Material,
    channels: list[Vectors],
    *,
    closed: bool = False,
    two_sided: bool | NDArray[np.bool_] = False,
) -> Part:
    """Return a part whose vertices form a grid, [rows, columns, 3]; a closed one's last column meets the first."""
    rows, columns = points.shape[:2]
    quads = grid_quads(rows, columns, closed=closed)
    filled = np.zeros((rows * columns, CHANNELS), np.float32)
    for index, channel in enumerate(channels):
        filled[:, index] = np.broadcast_to(channel, (rows, columns)).ravel()
    materials = np.full(len(quads), int(material))
    return Part(points.reshape(-1, 3).astype(np.float32), quads, materials, filled, two_sided)


def grid_quads(rows: int, columns: int, *, closed: bool) -> Quads:
    """Return the quads of a grid of vertices, counter-clockwise where columns go right and rows go up, [F, 4]."""
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(number, -1, 1) if closed else number[:, 1:]
    here = number if closed else number[:, :-1]
    quads: Quads = np.stack([here[:-1], right[:-1], right[1:], here[1:]], -1).reshape(-1, 4)
    return quads


def tube(path: Vectors, radii: Vectors, sides: int = 8, *, closed: bool = False) -> Vectors:
    """Return the surface of a tube along a path [N, 3] with the half axes ``radii`` [N, 2] (across, to the viewer).

    Its points form a grid, [N or N + 1, sides, 3], of which the columns are closed.
    """
    if closed:
        path, radii = np.concatenate([path, path[:1]]), np.concatenate([radii, radii[:1]])
        ahead = np.roll(path[:-1], -1, 0) - np.roll(path[:-1], 1, 0)
        ahead = np.concatenate([ahead, ahead[:1]])
    else:
        ahead = np.gradient(path, axis=0)
    ahead = ahead / (np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9)
    across = np.cross(np.array([0, 0, 1.0]), ahead)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    towards = np.cross(ahead, across)
    turn = 2 * np.pi * np.arange(sides) / sides
    ring = across[:, None] * np.cos(turn)[:, None] * radii[:, None, :1]
    ring = ring + towards[:, None] * np.sin(turn)[:, None] * radii[:, None, 1:]
    return np.asarray(path[:, None] + ring, np.float32)


def vertex_normals(points: Vectors, quads: Quads) -> Vectors:
    """Return unit normals, [V, 3]: the mean of those of the quads round each vertex [V, 3], weighted by their areas."""
    a, b, c, d = (points[quads[:, corner]] for corner in range(4))
    faces = np.cross(c - a, d - b)
    summed = [np.bincount(quads.ravel(), np.repeat(faces[:, axis], 4), len(points)) for axis in range(3)]
    normals = np.stack(summed, 1)
    return np.asarray(normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9), np.float32)
