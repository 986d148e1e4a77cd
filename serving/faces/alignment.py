"""The FFHQ crop: five points of a face -> an exact similarity -> the upright square that encoders were trained on.

Coordinates are pixel indices: (0, 0) is the centre of the photograph's first pixel. A placement, float64 [2, 3], takes
a point (u, v) of the crop, 0..1 from edge to edge, to the photograph. It does not depend on the crop's size in pixels,
so the 256 pixel crop and the 1024 pixel picture made from it share one.
"""

from __future__ import annotations

from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engines.contract.errors import AlignmentError
from engines.contract.tensors import FACE_SIZE

Photo = NDArray[np.uint8]
Points = NDArray[np.float64]
Placement = NDArray[np.float64]

SMALLEST_FACE = 24.0
"""Side of the crop in the photograph, in pixels, below which nothing of a face is left to encode."""


def placement_of_face(points: ArrayLike) -> Placement:
    """The FFHQ square of a face (Karras et al., "A Style-Based Generator Architecture", the data set's preparation).

    Args:
        points: [5, 2] as (x, y): eye, eye, nose, mouth corner, mouth corner; of each pair the left one in the image
            first. The nose is not used.

    Raises:
        AlignmentError: not five finite points, left and right exchanged, upside down, or a face that is too small.
    """
    array = np.asarray(points, np.float64)
    if array.shape != (5, 2) or not np.isfinite(array).all():
        raise _refused(f"points of shape {list(array.shape)}, or not finite", "five finite points (x, y)")
    left, right, _, mouth_left, mouth_right = array
    eyes, eye_centre = right - left, (left + right) / 2
    mouth = (mouth_left + mouth_right) / 2 - eye_centre
    if eyes[0] * mouth[1] - eyes[1] * mouth[0] <= 0:
        raise _refused("points that are mirrored or upside down", "the left one of each pair in the image first")
    # The eyes' direction averaged with the mouth's, turned by a right angle: a turned head moves one and not the other.
    x = eyes + np.array([mouth[1], -mouth[0]])
    x *= max(2.0 * np.hypot(*eyes), 1.8 * np.hypot(*mouth)) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    if 2 * np.hypot(*x) < SMALLEST_FACE:
        raise _refused(f"a face {2 * np.hypot(*x):.0f} pixels wide", f"at least {SMALLEST_FACE:.0f} pixels")
    top_left = eye_centre + 0.1 * mouth - x - y
    return np.column_stack([2 * x, 2 * y, top_left])


def side_of(placement: Placement) -> float:
    """Side of the crop in the photograph, in pixels."""
    return float(np.hypot(*placement[:, 0]))


def pixels_from_placement(placement: Placement, size: int) -> NDArray[np.float64]:
    """The same map from pixel indices of a square picture, [2, 3]: index i has its centre at (i + 0.5) / size.

    Without the half pixel the crop is off by up to 26 levels on textured photographs.
    """
    axes = placement[:, :2] / size
    return np.column_stack([axes, placement[:, 2] + axes @ [0.5, 0.5]])


def align(photo: Photo, points: ArrayLike, size: int = FACE_SIZE) -> tuple[Photo, Placement]:
    """Cut a face out of a photograph: uint8 [H, W, 3] -> uint8 [size, size, 3], and where it was.

    What lies beyond the photograph's edge is its mirror image.

    Raises:
        AlignmentError: see ``placement_of_face``; or the crop lies outside of the photograph.
    """
    placement = placement_of_face(points)
    return crop(photo, placement, size), placement


def crop(photo: Photo, placement: Placement, size: int = FACE_SIZE) -> Photo:
    """Sample a placement: uint8 [H, W, 3] -> uint8 [size, size, 3].

    Raises:
        AlignmentError: the placement lies outside of the photograph.
    """
    # A continuous prefilter, where the original scripts halve in whole steps: those make the crops of a video pulse.
    sigma = 0.5 * np.sqrt(max((side_of(placement) / size) ** 2 - 1, 0))
    (x0, x1), (y0, y1) = _region(photo, placement, margin=ceil(4 * sigma) + 2)
    region = photo[y0:y1, x0:x1]
    smooth = cv2.GaussianBlur(region, (0, 0), sigma) if sigma > 0 else region
    matrix = pixels_from_placement(placement, size) - [[0, 0, x0], [0, 0, y0]]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(smooth, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return sampled.astype(np.uint8, copy=False)


def prealigned(photo: Photo, size: int = FACE_SIZE, *, name: str = "picture") -> tuple[Photo, Placement]:
    """Take a picture that is an aligned crop already, of any size: uint8 [H, H, 3] -> uint8 [size, size, 3].

    Raises:
        AlignmentError: the picture is not square.
    """
    height, width = photo.shape[:2]
    if height != width:
        raise AlignmentError(
            name,
            got=f"{width}x{height} pixels",
            expected="the square picture of an aligned face",
            remedy="give --align for a whole photograph",
        )
    placement = np.array([[width, 0, -0.5], [0, height, -0.5]], np.float64)
    return crop(photo, placement, size), placement


def _region(photo: Photo, placement: Placement, margin: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The part of the photograph that a crop reads, mirror images included, as x and y slices."""
    corners = placement @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    height, width = photo.shape[:2]
    if (corners.max(1) < 0).any() or (corners.min(1) > [width - 1, height - 1]).any():
        raise _refused("a face outside of the photograph", "points inside of it")
    x, y = (
        _with_mirrored(floor(low) - margin, ceil(high) + margin, length)
        for low, high, length in zip(corners.min(1), corners.max(1), (width, height), strict=True)
    )
    return x, y


def _with_mirrored(low: int, high: int, length: int) -> tuple[int, int]:
    """Indices low..high after reflection at 0 and length - 1, as a slice."""
    high, low = max(high, -low), min(low, 2 * (length - 1) - high)
    return max(low, 0), min(high, length - 1) + 1


def _refused(got: str, expected: str) -> AlignmentError:
    return AlignmentError("face", got=got, expected=expected, remedy="look at the landmarks")
