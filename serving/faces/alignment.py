"""The FFHQ crop: from five points of a face, by an exact similarity, to the upright square that encoders expect.

Coordinates are pixel indices: (0, 0) is the centre of the photograph's first pixel. A placement, float64 [2, 3], maps a
point (u, v) of the crop, 0..1 from edge to edge, to the photograph. It does not depend on the crop's size in pixels, so
the 256 pixel crop and the 1024 pixel picture made from it share one placement.
"""

from __future__ import annotations

from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engines.contract.errors import AlignmentError
from engines.contract.tensors import FACE_SIZE
from serving.faces.padding import margin_of, padded, padding_of

Photo = NDArray[np.uint8]
Points = NDArray[np.float64]
Placement = NDArray[np.float64]

SMALLEST_FACE = 24.0
"""Smallest side of the crop in the photograph, in pixels; a smaller face has too few pixels to encode."""

_BLURRED_SCALE = 4
"""Least number of pixels per pixel of the crop that are left to the blur; larger faces are averaged down before it.

Averaging begins at twice this scale, for faces of 2048 pixels, so that the crops of most photographs are blurred alone.
"""


def placement_of_face(points: ArrayLike) -> Placement:
    """Return the FFHQ square of a face (Karras et al., "A Style-Based Generator Architecture", the data set's crop).

    Args:
        points: [5, 2] as (x, y): eye, eye, nose, mouth corner, mouth corner. The first one of each pair is the left one
            in the image. The nose is not used.

    Raises:
        AlignmentError: the points are not five finite ones, left and right are exchanged, the face is upside down, or
            it is too small.
    """
    placement = square_of_any_size(points)
    if side_of(placement) < SMALLEST_FACE:
        raise _refused(f"a face {side_of(placement):.0f} pixels wide", f"at least {SMALLEST_FACE:.0f} pixels")
    return placement


def square_of_any_size(points: ArrayLike) -> Placement:
    """Return the FFHQ square of a face as ``placement_of_face`` does, however small the face is.

    Raises:
        AlignmentError: the points are not five finite ones, left and right are exchanged, or the face is upside down.
    """
    array = np.asarray(points, np.float64)
    if array.shape != (5, 2) or not np.isfinite(array).all():
        raise _refused(f"points of shape {list(array.shape)}, or not finite", "five finite points (x, y)")
    left, right, _, mouth_left, mouth_right = array
    eyes, eye_centre = right - left, (left + right) / 2
    mouth = (mouth_left + mouth_right) / 2 - eye_centre
    if eyes[0] * mouth[1] - eyes[1] * mouth[0] <= 0:
        raise _refused("points that are mirrored or upside down", "the left one of each pair in the image first")
    # x is the direction between the eyes, averaged with the direction from the eyes to the mouth turned by a right
    # angle: a turned head changes only one of the two.
    x = eyes + np.array([mouth[1], -mouth[0]])
    x *= max(2.0 * np.hypot(*eyes), 1.8 * np.hypot(*mouth)) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    top_left = eye_centre + 0.1 * mouth - x - y
    return np.column_stack([2 * x, 2 * y, top_left])


def side_of(placement: Placement) -> float:
    """Return the side of the crop in the photograph, in pixels."""
    return float(np.hypot(*placement[:, 0]))


def pixels_from_placement(placement: Placement, size: int) -> NDArray[np.float64]:
    """Return the placement as a map from pixel indices of a square picture, [2, 3].

    The centre of the pixel with index i lies at (i + 0.5) / size. Without the half pixel the crop of a textured
    photograph is off by up to 26 levels.
    """
    axes = placement[:, :2] / size
    return np.column_stack([axes, placement[:, 2] + axes @ [0.5, 0.5]])


def align(photo: Photo, points: ArrayLike, size: int = FACE_SIZE) -> tuple[Photo, Placement]:
    """Cut a face out of a photograph: uint8 [H, W, 3] -> uint8 [size, size, 3], and its placement.

    What lies beyond the photograph's edges is made as by FFHQ's script (see ``serving.faces.padding``).

    Raises:
        AlignmentError: see ``placement_of_face``; or the crop lies outside the photograph.
    """
    placement = placement_of_face(points)
    return crop(photo, placement, size), placement


def crop(photo: Photo, placement: Placement, size: int = FACE_SIZE) -> Photo:
    """Sample the crop of a placement: uint8 [H, W, 3] -> uint8 [size, size, 3]; the time grows with the face's pixels.

    Raises:
        AlignmentError: the placement lies outside the photograph, or is far larger.
    """
    height, width = photo.shape[:2]
    if not side_of(placement) <= _BLURRED_SCALE * size * min(height, width):
        raise _refused(f"a face {side_of(placement):.0f} pixels wide", "one that is not far larger than the photograph")
    corners = _corners(placement)
    if (corners.max(1) < 0).any() or (corners.min(1) > [width - 1, height - 1]).any():
        raise _refused("a face outside the photograph", "points inside it")
    padding = padding_of(corners, side_of(placement), (width, height))
    if padding.strength == 0:
        return _sampled(photo, placement, size)
    more = margin_of(size) / size
    axes = placement[:, :2]
    wide = np.column_stack([(1 + 2 * more) * axes, placement[:, 2] - axes @ [more, more]])
    sampled = _sampled(photo, wide, size + 2 * margin_of(size))
    return padded(sampled, size, photo, pixels_from_placement(placement, size), padding)


def _sampled(photo: Photo, placement: Placement, size: int) -> Photo:
    """Sample a crop as ``crop`` does, mirrored beyond the photograph's edges."""
    scale = side_of(placement) / size
    # The prefilter's width is continuous. The original scripts halve the picture in whole steps, which makes the crops
    # of a video pulse.
    sigma = 0.5 * np.sqrt(max(scale**2 - 1, 0))
    (x0, x1), (y0, y1) = _region(photo, placement, margin=ceil(4 * sigma) + 2)
    smooth, border = _smoothed(photo[y0:y1, x0:x1], sigma, max(int(scale / _BLURRED_SCALE), 1))
    factors = np.divide([x1 - x0, y1 - y0], smooth.shape[1::-1])[:, None]
    matrix = pixels_from_placement(placement, size) - [[0, 0, x0 - 0.5], [0, 0, y0 - 0.5]]
    matrix = matrix / factors - [[0, 0, 0.5]]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(smooth, matrix, (size, size), flags=flags, borderMode=border).astype(np.uint8, copy=False)


def _smoothed(region: Photo, sigma: float, factor: int) -> tuple[Photo, int]:
    """Average the region down by ``factor``, then blur, so that both together have the Gaussian's variance.

    A Gaussian over all pixels would take time by the cube of the face's side: 100 s for 9990 pixels, instead of 0.5 s.
    Also returns how to mirror the result: averaged pixels at their edges, since the region's mirror line, the centre of
    its first pixel, is near the edge of the first averaged one.
    """
    border = cv2.BORDER_REFLECT_101
    if factor > 1:
        border = cv2.BORDER_REFLECT
        size = ceil(region.shape[1] / factor), ceil(region.shape[0] / factor)
        region = cv2.resize(region, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        sigma = np.sqrt(sigma**2 - (factor**2 - 1) / 12) / factor
    if sigma > 0:
        region = cv2.GaussianBlur(region, (0, 0), sigma, borderType=border).astype(np.uint8, copy=False)
    return region, border


def prealigned(photo: Photo, size: int = FACE_SIZE, *, name: str = "picture") -> tuple[Photo, Placement]:
    """Resize a picture that is already an aligned crop: uint8 [H, H, 3] -> uint8 [size, size, 3], and its placement.

    Raises:
        AlignmentError: the picture is not square, or too small.
    """
    check_aligned(photo, name, remedy="give --align for a whole photograph")
    height, width = photo.shape[:2]
    placement = np.array([[width, 0, -0.5], [0, height, -0.5]], np.float64)
    return crop(photo, placement, size), placement


def check_aligned(photo: Photo, name: str, *, remedy: str) -> None:
    """Raise AlignmentError, with the remedy for a whole photograph, unless a picture can be an aligned face."""
    height, width = photo.shape[:2]
    if height != width:
        expected = "the square picture of an aligned face"
    elif width < SMALLEST_FACE:
        expected, remedy = f"an aligned face of at least {SMALLEST_FACE:.0f} pixels", "give a larger picture"
    else:
        return
    raise AlignmentError(name, got=f"{width}x{height} pixels", expected=expected, remedy=remedy)


def _region(photo: Photo, placement: Placement, margin: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the x and y ranges of the photograph that a crop reads, including those read through mirroring."""
    corners = _corners(placement)
    height, width = photo.shape[:2]
    x, y = (
        _with_mirrored(floor(low) - margin, ceil(high) + margin, length)
        for low, high, length in zip(corners.min(1), corners.max(1), (width, height), strict=True)
    )
    return x, y


def _corners(placement: Placement) -> NDArray[np.float64]:
    """Return the corners of a crop, [2, 4], in pixel indices of the photograph."""
    return np.asarray(placement @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]))


def _with_mirrored(low: int, high: int, length: int) -> tuple[int, int]:
    """Return the range that the indices low..high cover after reflection at 0 and length - 1; its end is exclusive."""
    high, low = max(high, -low), min(low, 2 * (length - 1) - high)
    return max(low, 0), min(high, length - 1) + 1


def _refused(got: str, expected: str) -> AlignmentError:
    return AlignmentError("face", got=got, expected=expected, remedy="check the landmarks")
