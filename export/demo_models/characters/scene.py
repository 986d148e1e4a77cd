"""A character as triangles on the screen: all parts, turned, projected, and placed as the FFHQ crop of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.body import body_part
from export.demo_models.characters.features import brow_parts, eye_part, lash_parts, teeth_part
from export.demo_models.characters.glasses import glasses_parts, rim
from export.demo_models.characters.hair import hair_part
from export.demo_models.characters.head import Vectors
from export.demo_models.characters.parts import Part, vertex_normals
from export.demo_models.characters.person import CHARACTER, Person, Variation
from export.demo_models.characters.rasteriser import Visible, rasterise
from export.demo_models.characters.shape import Figure, posed
from serving.faces.alignment import Points, square_of_any_size

WORN = 0.02
"""How far glasses must be present to be built; their frames grow from nothing."""
DISTANCE = 11.0
"""The camera's distance from the face in decimetres."""


@dataclass(frozen=True)
class Scene:
    """A character's triangles.

    Attributes:
        figure: the head's shape.
        points: positions after turning, [V, 3].
        normals: unit normals, [V, 3].
        channels: values of the parts, [V, CHANNELS].
        triangles: the vertices of each triangle, [T, 3].
        materials: the material of each triangle, [T].
        placement: the map from the projection's plane to an FFHQ crop with the side 1, [2, 3].
    """

    figure: Figure
    points: Vectors
    normals: Vectors
    channels: Vectors
    triangles: NDArray[np.int64]
    materials: NDArray[np.int64]
    placement: NDArray[np.float64]

    def screen(self, matrix: NDArray[np.float64], points: Vectors | None = None) -> Vectors:
        """Project vertices to pixels; ``matrix`` [2, 3] places the crop's corners in a picture, [V, 2]."""
        flat = projected(self.points if points is None else points) @ self.placement[:, :2].T + self.placement[:, 2]
        return np.asarray(flat @ matrix[:, :2].T + matrix[:, 2], np.float32)

    def visible(self, screen: Vectors, side: int) -> Visible:
        """Return what is seen in a picture."""
        return rasterise(screen, self.points[:, 2], self.triangles, side)

    def lenses(self, matrix: NDArray[np.float64]) -> list[Vectors]:
        """Return the outlines of the glasses' lenses in pixels."""
        return [self.screen(matrix, posed(rim(self.figure, side), self.figure.person)) for side in (1, -1)]


def scene_of(code: NDArray[np.float32], structure: float, variation: Variation = CHARACTER) -> Scene:
    """Build a character from its traits."""
    person = Person(code, variation)
    figure = Figure(person, structure)
    parts = [body_part(figure), *(eye_part(eye) for eye in figure.eyes), teeth_part(figure), *brow_parts(figure)]
    parts.append(hair_part(figure))
    parts += lash_parts(figure, 0.045 + 0.035 * structure)
    if person.has("glasses") > WORN:
        parts += glasses_parts(figure)
    points = posed(np.concatenate([part.points for part in parts]), person)
    triangles, materials = _triangles(parts, points)
    channels = np.concatenate([part.channels for part in parts])
    placement = crop_of_landmarks(landmarks(points, figure))
    return Scene(figure, points, _normals(points, parts), channels, triangles, materials, placement)


def projected(points: Vectors) -> NDArray[np.float64]:
    """Return x to the right and y down in the picture's plane, [N, 2]."""
    flat: NDArray[np.float64] = points[:, :2] * (1, -1) / (1 - points[:, 2:] / DISTANCE)
    return flat


def landmarks(points: Vectors, figure: Figure) -> NDArray[np.float64]:
    """Return a face's five points in the projection's plane, [5, 2]: eyes, nose, mouth corners; image-left first."""
    nose, left, right = figure.head.landmarks
    eyes = posed(np.stack([eye.centre + eye.radii * (0, 0, 0.8) for eye in figure.eyes[::-1]]), figure.person)
    return projected(np.concatenate([eyes, points[[nose, left, right]]]))


def crop_of_landmarks(points: Points) -> NDArray[np.float64]:
    """Return the map from the plane of a face's five points [5, 2] to its FFHQ crop with the side 1, [2, 3]."""
    own = square_of_any_size(points)
    inverse = np.linalg.inv(own[:, :2])
    return np.column_stack([inverse, -inverse @ own[:, 2]])


def _triangles(parts: list[Part], points: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the quads that face the viewer, or may be seen from behind, into triangles."""
    triangles, materials, start = [], [], 0
    for part in parts:
        quads = part.quads + start
        start += len(part.points)
        kept = np.broadcast_to(part.two_sided, len(quads))
        if not kept.all():
            a, b, c, d = (points[quads[:, corner]] for corner in range(4))
            towards = np.array([0, 0, DISTANCE], np.float32) - a
            kept = kept | ((np.cross(c - a, d - b) * towards).sum(1) > 0)
        quads = quads[kept]
        triangles += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
        materials += [part.materials[kept]] * 2
    return np.concatenate(triangles), np.concatenate(materials)


def _normals(points: Vectors, parts: list[Part]) -> Vectors:
    """Return the vertices' unit normals, [V, 3]."""
    starts = np.cumsum([0] + [len(part.points) for part in parts[:-1]])
    quads = np.concatenate([part.quads + start for part, start in zip(parts, starts, strict=True)])
    return vertex_normals(points, quads)
