"""A face's landmarks in a photograph, and the interface of the landmarkers that find them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Points

CANONICAL_POINTS = np.array(
    [(0.37692, 0.46865), (0.62286, 0.46913), (0.50124, 0.61332), (0.39309, 0.72541), (0.61151, 0.72490)]
)
"""Average positions (x, y) of the five points in an FFHQ crop, as fractions of its side."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """MediaPipe's mesh of a face.

    ``points``: float64 [478, 3]: x, y in pixel indices of the photograph, and the depth in pixels, growing away from
    the camera. ``presence``: probability that a whole face is there, 0..1.
    """

    points: Points
    presence: float


@dataclass(frozen=True, eq=False)
class Face:
    """A face in pixel indices of the photograph.

    ``points``: float64 [5, 2] as (x, y): eye, eye, nose, mouth corner, mouth corner, the left one in the image first.
    ``box``: x, y, width, height. ``score``: higher is more certain; its scale depends on the landmarker.
    ``presence``: probability that the whole face can be seen, 0..1; 1 from landmarkers that do not estimate it.
    ``mesh``: the face's mesh, from landmarkers that fit one.
    """

    points: Points
    box: tuple[float, float, float, float]
    score: float
    presence: float = 1.0
    mesh: Mesh | None = None


class Landmarker(Protocol):
    """Finds the faces of a photograph. Any callable of this form is one; it may be used by one thread at a time."""

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        """Return the faces of a photograph, uint8 [H, W, 3] RGB, the largest box first; empty if there is none.

        ``name`` is the picture's file name, for landmarkers that look it up.
        """
        ...


def unloadable(model: Path, library: str, expected: str, remedy: str) -> AlignmentError:
    """Return the error for a landmarker's model file that is missing or that its library cannot load."""
    got = f"a file that {library} cannot load" if model.is_file() else "no such file"
    return AlignmentError(str(model), got=got, expected=expected, remedy=remedy)


def largest_first(faces: Iterable[Face]) -> tuple[Face, ...]:
    """Sort faces by the area of their boxes, largest first, as every landmarker returns them."""
    return tuple(sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True))


def distinct(faces: Iterable[Face]) -> list[Face]:
    """Return the faces without those whose box has its centre in the middle of the box of one that is more certain."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (face.presence, face.score), reverse=True):
        if not any(_same_place(face, other) for other in kept):
            kept.append(face)
    return kept


def _same_place(a: Face, b: Face) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    reach = max(aw, ah, bw, bh) / 2
    return abs(ax + aw / 2 - bx - bw / 2) < reach and abs(ay + ah / 2 - by - bh / 2) < reach


def box_around(points: Points) -> tuple[float, float, float, float]:
    """Return x, y, width, height of the box around points [N, 2]."""
    (x, y), (width, height) = points.min(0).tolist(), np.ptp(points, axis=0).tolist()
    return x, y, width, height


def resized(photo: Photo, scale: float) -> Photo:
    """Return a photograph at ``scale`` times its size, at least one pixel wide and high: uint8 [H', W', 3]."""
    if scale == 1.0:
        return photo
    size = (max(round(photo.shape[1] * scale), 1), max(round(photo.shape[0] * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(photo, size, interpolation=interpolation).astype(np.uint8, copy=False)


def moved(face: Face, matrix: NDArray[np.float64]) -> Face:
    """Convert a face of a detector, without a mesh, to other pixel indices by a similarity, [2, 3]; its box only moves.

    The box keeps its edges along the axes, with its sides scaled, about the centre that follows.
    """
    x, y, width, height = face.box
    scale = float(np.hypot(*matrix[:, 0]))
    centre = matrix @ [x + width / 2, y + height / 2, 1]
    corner = centre - np.array([width, height]) * scale / 2
    box = (float(corner[0]), float(corner[1]), width * scale, height * scale)
    return replace(face, points=face.points @ matrix[:, :2].T + matrix[:, 2], box=box)


def from_resized(scale: float) -> NDArray[np.float64]:
    """Return the map [2, 3] from pixel indices of a photograph resized by ``scale`` to those of the photograph.

    The edges of pixels, not their centres, stay in place when a picture is resized.
    """
    return np.array([[1, 0, 0.5], [0, 1, 0.5]]) / scale - [[0, 0, 0.5], [0, 0, 0.5]]
