"""Pasting of a toonified face into the photograph that it was cut from."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import RequestError
from serving.faces.alignment import Photo, Placement, pixels_from_placement, side_of

if TYPE_CHECKING:
    from cv2.typing import MatLike

Mask = NDArray[np.float32]

FEATHER = 0.3
"""Fraction of the ellipse's radius over which the picture fades into the photograph."""

MASK_SIZE = 256
"""Side of masks, in pixels."""

# Half axes of the ellipse as fractions of the crop's side; the generated background beside the head is left out.
_HALF_WIDTH, _HALF_HEIGHT = 0.44, 0.5


def paste(photo: Photo, picture: Photo, placement: Placement, feather: float = FEATHER) -> Photo:
    """Blend a picture of a crop into a copy of the photograph: uint8 [H, W, 3], [R, R, 3] -> uint8 [H, W, 3].

    The picture covers a soft ellipse inside the crop's square; every pixel outside the ellipse keeps its value.

    Args:
        photo: the photograph.
        picture: the square picture, of any size.
        placement: the crop's placement, as returned by ``serving.faces.alignment.align``.
        feather: width of the soft edge, from 0 (hard) to 1 (fading from the centre on).

    Raises:
        RequestError: an array has another dtype or shape, or ``feather`` is outside 0..1.
    """
    if not 0 <= feather <= 1:
        raise _outside("feather", feather, "0.3 suits most faces")
    _check(photo, picture)
    result = photo.copy()
    paste_into(result, picture, placement, mask=soft_ellipse(feather))
    return result


def paste_into(
    photo: Photo,
    picture: Photo,
    placement: Placement,
    *,
    mask: Mask | None = None,
    opacity: float = 1.0,
    colour_match: float = 0.0,
) -> None:
    """Paste as ``paste`` does, but into the photograph itself; only the crop's region is read and written.

    Args:
        photo: uint8 [H, W, 3], modified in place.
        picture: the square picture, uint8 [R, R, 3], of any size.
        placement: the crop's placement, as returned by ``serving.faces.alignment.align``.
        mask: float32 [S, S], the picture's opacity over the crop, 0..1; None is ``soft_ellipse(FEATHER)``.
        opacity: factor for the whole mask, 0..1.
        colour_match: 0 (the picture's own colours) to 1 (mean and standard deviation of the colours that it covers).

    Raises:
        RequestError: an array has another dtype or shape, or a number is outside 0..1.
    """
    for name, number in (("opacity", opacity), ("colour_match", colour_match)):
        if not 0 <= number <= 1:
            raise _outside(name, number, "correct the number")
    _check(photo, picture)
    corners = placement @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    x0, y0 = (max(floor(low), 0) for low in corners.min(1))
    x1, y1 = (ceil(high) + 1 for high in corners.max(1))
    region = photo[y0 : max(y1, 0), x0 : max(x1, 0)]  # negative ends would count from the other side
    if not region.size or opacity == 0:
        return
    in_region = placement - [[0, 0, x0], [0, 0, y0]]
    opacities = soft_ellipse(FEATHER) if mask is None else mask
    alpha = opacity * _warped(opacities, in_region, region, cv2.BORDER_CONSTANT)
    over = _warped(_shrunk(picture, side_of(placement)), in_region, region, cv2.BORDER_REPLICATE)
    under = np.ascontiguousarray(region)
    if colour_match:
        over = _recoloured(over, under, alpha > 0.5 * opacity, colour_match)
    region[:] = cv2.blendLinear(over, under, alpha, 1 - alpha)


@lru_cache(maxsize=8)
def soft_ellipse(feather: float) -> Mask:
    """Return opacities over the crop, float32 [256, 256]: 1 inside, smoothstep at the edge, 0 outside."""
    axis = (np.arange(MASK_SIZE, dtype=np.float32) + 0.5) / MASK_SIZE - 0.5
    radius = np.hypot(axis[None, :] / _HALF_WIDTH, axis[:, None] / _HALF_HEIGHT)
    mask = smoothstep((1 - radius) / max(feather, 1e-3))
    mask.flags.writeable = False  # the cache shares it between all callers
    return mask


def smoothstep(t: NDArray[np.floating[Any]]) -> Mask:
    """Return 3t^2 - 2t^3 of t clipped to 0..1, float32 of the same shape."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _shrunk(picture: Photo, side: float) -> Photo:
    """Average the picture down to its side in the photograph; a bilinear warp alone would skip pixels and shimmer."""
    size = max(ceil(side), 1)
    if size >= picture.shape[0]:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _warped(source: MatLike, placement: Placement, region: Photo, border: int) -> MatLike:
    height, width = region.shape[:2]
    matrix = pixels_from_placement(placement, source.shape[0])
    return cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def _recoloured(picture: MatLike, photo: MatLike, where: NDArray[np.bool_], amount: float) -> MatLike:
    """Move the mean and spread of the picture's colours towards the photograph's (Reinhard et al. 2001, in CIELAB)."""
    inside = where.astype(np.uint8)
    if not inside.any():
        return picture
    own = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    mean, spread = cv2.meanStdDev(own, mask=inside)  # [3, 1] each
    target_mean, target_spread = cv2.meanStdDev(cv2.cvtColor(photo, cv2.COLOR_RGB2LAB), mask=inside)
    # A flat drawing has a small standard deviation: without bounds on the gain its noise would become visible.
    gain = 1 + amount * (np.clip(target_spread / np.maximum(spread, 1), 0.5, 2) - 1)
    levels = gain * (np.arange(256) - mean) + mean + amount * (target_mean - mean)  # [3, 256]
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8).T[None]
    return cv2.cvtColor(cv2.LUT(own, table), cv2.COLOR_LAB2RGB)


def _check(photo: Photo, picture: Photo) -> None:
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


def _outside(name: str, got: float, remedy: str) -> RequestError:
    return RequestError(name, got=str(got), expected="0 to 1", remedy=remedy)
