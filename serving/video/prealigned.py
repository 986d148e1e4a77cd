"""Videos whose frames are aligned faces already."""

from __future__ import annotations

import numpy as np

from serving.alignment import Photo, Placement, placement_of_face, prealigned
from serving.landmarks import CANONICAL_POINTS, Face


def prealigned_landmarker(photo: Photo, name: str = "") -> tuple[Face, ...]:
    """A landmarker for square frames, each wholly one aligned face: the face whose crop is the frame.

    Raises:
        AlignmentError: the frame is not square.
    """
    _, frame = prealigned(photo, name=f"frame {name}")
    points = 1000 * CANONICAL_POINTS  # any size above the smallest face's
    crop = _square(placement_of_face(points))
    to_frame = _square(frame) @ np.linalg.inv(crop)
    placed = points @ to_frame[:2, :2].T + to_frame[:2, 2]
    height, width = photo.shape[:2]
    return (Face(placed, (0, 0, width, height), 1.0),)


def _square(placement: Placement) -> Placement:
    return np.vstack([placement, [0, 0, 1]])
