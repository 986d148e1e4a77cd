"""What lies beyond a photograph's edge in a crop, made as by FFHQ's script, with whose crops encoders were trained.

The script (``recreate_aligned_images`` of ffhq-dataset) mirrors the photograph, blurs what was mirrored, and fades it
to the median colour. It does so in the photograph's pixels. Here the crop itself is blurred, which takes the same time
for faces of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

_BLUR = 0.02
_BORDER, _LEAST_PAD = 0.1, 0.3
"""The script's numbers, in sides of the crop: standard deviation of the blur; margin; least width of the padding."""

_ONSET = 0.05
"""Part of a crop beyond the edge, in sides, up to which the padding comes in: at once, videos would pop."""

_MEDIAN_SAMPLES = 64
"""Samples along a side from which the median colour is taken."""


def margin_of(size: int) -> int:
    """Return how many pixels around a crop the blur reads."""
    return ceil(3 * _BLUR * size)


@dataclass(frozen=True)
class Padding:
    """The padding of one crop.

    ``low``, ``high``: widths of the padding beyond the photograph's edges (x, y), in its pixels. ``strength``: 0..1; 0
    for a crop inside the photograph.
    """

    low: tuple[int, int]
    high: tuple[int, int]
    strength: float


def padding_of(corners: NDArray[np.float64], side: float, size: tuple[int, int]) -> Padding:
    """Return the padding of a crop with these corners, [2, 4] in pixel indices of a photograph of width and height."""
    border = max(round(_BORDER * side), 3)
    least = round(_LEAST_PAD * side)
    low = [max(-floor(value) + border, least) for value in corners.min(1)]
    high = [max(ceil(value) - length + border, least) for value, length in zip(corners.max(1), size, strict=True)]
    beyond = max(*(-0.5 - corners.min(1)), *(corners.max(1) - np.array(size) + 0.5))
    strength = float(np.clip(beyond / (_ONSET * side), 0, 1))
    return Padding((low[0], low[1]), (high[0], high[1]), strength)


def padded(
    wide: NDArray[np.uint8], size: int, photo: NDArray[np.uint8], matrix: NDArray[np.float64], padding: Padding
) -> NDArray[np.uint8]:
    """Blur and fade the part of a mirrored crop that lies beyond the photograph: uint8 [S, S, 3] -> [size, size, 3].

    Args:
        wide: the crop with ``margin_of(size)`` more pixels on each side, mirrored beyond the photograph.
        size: side of the crop in pixels.
        photo: the photograph, uint8 [H, W, 3].
        matrix: the map [2, 3] from the crop's pixel indices to the photograph's.
        padding: as ``padding_of`` returns it.
    """
    inside = slice(margin_of(size), margin_of(size) + size)
    crop = wide[inside, inside].astype(np.float32)
    blurred = cv2.GaussianBlur(wide, (0, 0), _BLUR * size)[inside, inside].astype(np.float32)
    depth = _depth(photo.shape[1::-1], matrix, padding, size)[..., None]
    crop += padding.strength * np.clip(3 * depth + 1, 0, 1) * (blurred - crop)
    crop += padding.strength * np.clip(depth, 0, 1) * (_median(photo, matrix, padding, size) - crop)
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)


def _depth(
    photo_size: tuple[int, ...], matrix: NDArray[np.float64], padding: Padding, size: int
) -> NDArray[np.float32]:
    """Return how deep each pixel lies in the padding, float32 [size, size]: 1 at its outer edge, negative inside."""
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    depths = []
    for axis, length in enumerate(photo_size):
        place = matrix[axis, 0] * columns + matrix[axis, 1] * rows + matrix[axis, 2]
        depths += [-place / padding.low[axis], (place - (length - 1)) / padding.high[axis]]
    return np.asarray(np.max(depths, axis=0), np.float32)


def _median(photo: NDArray[np.uint8], matrix: NDArray[np.float64], padding: Padding, size: int) -> NDArray[np.float32]:
    """Return the median colour [3] of the padded part of the photograph around a crop, from a sample of its pixels."""
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    side = float(np.hypot(*matrix[:, 0])) * size
    border, step = max(round(_BORDER * side), 3), max(int(side / _MEDIAN_SAMPLES), 1)
    (x0, y0), (x1, y1) = np.floor(corners.min(1)).astype(int) - border, np.ceil(corners.max(1)).astype(int) + border
    part = photo[max(y0, 0) : max(y1, 1) : step, max(x0, 0) : max(x1, 1) : step]
    widths = [(low // step, high // step) for low, high in zip(padding.low, padding.high, strict=True)]
    # Even one pixel may be mirrored as often as it takes.
    sample = np.pad(part, (widths[1], widths[0], (0, 0)), "symmetric")
    return np.asarray(np.median(sample, axis=(0, 1)), np.float32)
