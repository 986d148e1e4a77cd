"""A face's landmarks in a photograph, and the interface of the landmarkers that find them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo, Points

CANONICAL_POINTS = np.array(
    [(0.37692, 0.46865), (0.62286, 0.46913), (0.50124, 0.61332), (0.39309, 0.72541), (0.61151, 0.72490)]
)
"""Average positions (x, y) of the five points in an FFHQ crop, as fractions of its side."""

_LONGEST_SIDE = 1024
"""Largest side in pixels at which photographs are searched.

Detectors are trained for faces of up to a few hundred pixels, and their time grows with the size.
"""


@dataclass(frozen=True)
class Face:
    """A face in pixel indices of the photograph.

    ``points``: float64 [5, 2] as (x, y): eye, eye, nose, mouth corner, mouth corner, the left one in the image first.
    ``box``: x, y, width, height. ``score``: higher is more certain; its scale depends on the landmarker.
    """

    points: Points
    box: tuple[float, float, float, float]
    score: float


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


def box_around(points: Points) -> tuple[float, float, float, float]:
    """Return x, y, width, height of the box around points [N, 2]."""
    (x, y), (width, height) = points.min(0).tolist(), np.ptp(points, axis=0).tolist()
    return x, y, width, height


def downscaled(photo: Photo) -> tuple[Photo, float]:
    """Return a photograph at the size at which detectors search it, and the scale, at most 1, of that size."""
    scale = min(_LONGEST_SIDE / max(photo.shape[:2]), 1.0)
    if scale == 1.0:
        return photo, scale
    # A picture of 1 x 60000 pixels would otherwise lose its shorter side.
    size = max(round(photo.shape[1] * scale), 1), max(round(photo.shape[0] * scale), 1)
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), scale


def upscaled_face(face: Face, scale: float) -> Face:
    """Convert a face from the downscaled photograph to the original's pixels.

    The edges of pixels, not their centres, stay in place when a picture is resized.
    """
    x, y, width, height = face.box
    box = ((x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, width / scale, height / scale)
    return Face((face.points + 0.5) / scale - 0.5, box, face.score)
