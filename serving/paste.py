"""A toonified face back into the photograph that it was cut from."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.alignment import Photo, Placement, pixels_from_placement, side_of
from serving.errors import RequestError

if TYPE_CHECKING:
    from cv2.typing import MatLike

FEATHER = 0.3
"""Part of the ellipse's radius over which the picture fades into the photograph."""

_MASK_SIZE = 256
_HALF_WIDTH, _HALF_HEIGHT = 0.44, 0.5  # of the crop: the invented background beside the head is left out


def paste(photo: Photo, picture: Photo, placement: Placement, feather: float = FEATHER) -> Photo:
    """Blend a picture of a crop into a copy of the photograph: uint8 [H, W, 3], [R, R, 3] -> uint8 [H, W, 3].

    The picture covers a soft ellipse inside the crop's square; every pixel outside of it stays as it was.

    Args:
        photo: the photograph.
        picture: square, of any size.
        placement: of the crop, as ``serving.alignment.align`` returned it.
        feather: 0 (a hard edge) to 1 (fades from the centre on).

    Raises:
        RequestError: an array of another form, or a feather outside of 0..1.
    """
    _check(photo, picture, feather)
    result = photo.copy()
    corners = placement @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    x0, y0 = (max(floor(low), 0) for low in corners.min(1))
    x1, y1 = (ceil(high) + 1 for high in corners.max(1))
    region = result[y0:y1, x0:x1]
    if region.size:
        in_region = placement - [[0, 0, x0], [0, 0, y0]]
        mask = _warped(soft_ellipse(feather), in_region, region, cv2.BORDER_CONSTANT)
        over = _warped(_shrunk(picture, side_of(placement)), in_region, region, cv2.BORDER_REPLICATE)
        region[:] = cv2.blendLinear(over, np.ascontiguousarray(region), mask, 1 - mask)
    return result


@lru_cache(maxsize=8)
def soft_ellipse(feather: float) -> NDArray[np.float32]:
    """Opacity over the crop, float32 [256, 256]: 1 inside, a smooth step (3t^2 - 2t^3) of the feather's width, 0."""
    axis = (np.arange(_MASK_SIZE, dtype=np.float32) + 0.5) / _MASK_SIZE - 0.5
    radius = np.hypot(axis[None, :] / _HALF_WIDTH, axis[:, None] / _HALF_HEIGHT)
    t = np.clip((1 - radius) / max(feather, 1e-3), 0, 1)
    mask = (t * t * (3 - 2 * t)).astype(np.float32)
    mask.flags.writeable = False  # shared by every caller
    return mask


def _shrunk(picture: Photo, side: float) -> Photo:
    """Average the picture down to the side that it will have; a bilinear warp alone would skip pixels and shimmer."""
    size = max(ceil(side), 1)
    if size >= picture.shape[0]:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _warped(source: MatLike, placement: Placement, region: Photo, border: int) -> MatLike:
    height, width = region.shape[:2]
    matrix = pixels_from_placement(placement, source.shape[0])
    return cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def _check(photo: Photo, picture: Photo, feather: float) -> None:
    for name, array in (("photograph", photo), ("picture", picture)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise RequestError(
                name,
                got=f"{array.dtype} {list(array.shape)}",
                expected="uint8 [H,W,3], RGB",
                remedy="convert the array before the call",
            )
    if picture.shape[0] != picture.shape[1]:
        raise RequestError(
            "picture",
            got=f"{picture.shape[1]}x{picture.shape[0]} pixels",
            expected="the square picture of an aligned face",
            remedy="paste pictures as the server returns them",
        )
    if not 0 <= feather <= 1:
        raise RequestError("feather", got=str(feather), expected="0 to 1", remedy="0.3 suits most faces")
