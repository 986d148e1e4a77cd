"""A landmarker for videos whose frames are already aligned faces."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from serving.faces.alignment import Photo, Placement, check_aligned, placement_of_face
from serving.faces.landmarks import CANONICAL_POINTS, Face


def prealigned_landmarker(photo: Photo, name: str = "") -> tuple[Face, ...]:
    """Return the face whose crop is the whole frame, for square frames that each show one aligned face.

    Raises:
        AlignmentError: the frame is not square, or too small.
    """
    check_aligned(photo, f"frame {name}", remedy="detect faces, with --align auto")
    return (_face_of_frame(photo.shape[1]),)


@lru_cache(maxsize=8)
def _face_of_frame(side: int) -> Face:
    points = 1000 * CANONICAL_POINTS  # any size above SMALLEST_FACE gives the same result
    frame = np.array([[side, 0, -0.5], [0, side, -0.5], [0, 0, 1]])
    to_frame = frame @ np.linalg.inv(_square(placement_of_face(points)))
    placed = points @ to_frame[:2, :2].T + to_frame[:2, 2]
    placed.flags.writeable = False  # the cache shares it between all frames
    return Face(placed, (0, 0, side, side), 1.0)


def _square(placement: Placement) -> Placement:
    return np.vstack([placement, [0, 0, 1]])
