"""Drawing of faces from codes, as a photograph, as a cartoon, or in between.

Both domains are drawn from the same traits. ``structure`` sets the proportions (large eyes, small chin), ``texture``
the surface (flat colours, outlines), each from 0 = photograph to 1 = cartoon. The effect of layer swapping on either
can thus be measured on pictures that differ only in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Picture
from engines.contract.tensors import FACE_SIZE
from export.demo_models.canvas import Canvas, Points
from export.demo_models.cartoon import paint_cartoon, paint_cartoon_backdrop
from export.demo_models.photo import paint_photo, paint_photo_backdrop
from export.demo_models.shape import Shape
from serving.faces.alignment import square_of_any_size


@dataclass(frozen=True)
class Domain:
    """The position of a drawing between photograph (0) and cartoon (1), in proportions and in surface."""

    structure: float
    texture: float


PHOTO, CARTOON = Domain(0, 0), Domain(1, 1)

MEASURES = ("eye height", "chin width", "outline strength")
"""Quantities that layer swapping changes: two of structure, in pixels at 256, and one of texture, in 0..1."""


@dataclass(frozen=True)
class Artist:
    """A way of drawing faces from codes, in all domains.

    Attributes:
        draw: draws a code in a domain as an aligned picture, uint8 RGB [FACE_SIZE, FACE_SIZE, 3].
        measures: gives that picture's ``MEASURES``, float32 [3].
    """

    draw: Callable[[NDArray[np.float32], Domain], Picture]
    measures: Callable[[NDArray[np.float32], Domain], NDArray[np.float32]]


def draw_face(code: NDArray[np.float32], domain: Domain = PHOTO, size: int = FACE_SIZE) -> Picture:
    """Draw a face as the FFHQ crop of its own landmarks, uint8 RGB [size, size, 3]."""
    placement = np.array([[size, 0, -0.5], [0, size, -0.5]])
    photo, toon = np.zeros((2, size, size, 3), np.float32)
    face, matrix = _fitted(code, domain, placement)
    if domain.texture < 1:
        canvas = Canvas(photo, matrix)
        paint_photo_backdrop(canvas, face)
        paint_photo(canvas, face)
    if domain.texture > 0:
        canvas = Canvas(toon, matrix)
        paint_cartoon_backdrop(canvas, face)
        paint_cartoon(canvas, face)
    return _rounded(photo + np.float32(domain.texture) * (toon - photo))


def draw_into(
    background: Picture, code: NDArray[np.float32], placement: NDArray[np.float64], domain: Domain = PHOTO
) -> tuple[Picture, Points]:
    """Draw a person in front of a background.

    Args:
        background: uint8 RGB [H, W, 3].
        code: the face's traits, float32 [traits].
        placement: placement of the face's FFHQ crop, as defined in ``serving.faces.alignment``, [2, 3].
        domain: the surface is a photograph's if ``texture`` is 0, else a cartoon's.

    Returns:
        The picture, uint8 RGB [H, W, 3], and the face's five points, [5, 2] in pixels.
    """
    face, matrix = _fitted(code, domain, placement)
    pixels = background.astype(np.float32)
    paint = paint_cartoon if domain.texture else paint_photo
    paint(Canvas(pixels, matrix), face)
    return _rounded(pixels), face.landmarks() @ matrix[:, :2].T + matrix[:, 2]


def _fitted(
    code: NDArray[np.float32], domain: Domain, placement: NDArray[np.float64]
) -> tuple[Shape, NDArray[np.float64]]:
    """Return a face's shape, and the matrix [2, 3] that moves its own FFHQ crop to a placement."""
    face = Shape(code, domain.structure)
    return face, _composed(placement, crop_of_landmarks(face.landmarks()))


def crop_of_landmarks(points: Points) -> NDArray[np.float64]:
    """Return the map from the plane of a face's five points [5, 2] to its FFHQ crop with the side 1, [2, 3]."""
    own = square_of_any_size(points)
    inverse = np.linalg.inv(own[:, :2])
    return np.column_stack([inverse, -inverse @ own[:, 2]])


def _rounded(pixels: NDArray[np.float32]) -> Picture:
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def measures_of(code: NDArray[np.float32], domain: Domain) -> NDArray[np.float32]:
    """Return the drawing's ``MEASURES`` with the eyes open, float32 [3]."""
    face, matrix = _fitted(code, domain, np.array([[FACE_SIZE, 0, 0], [0, FACE_SIZE, 0]], np.float64))
    scale = np.hypot(*matrix[:, 0])
    return np.array([2 * face.eye_half_axes[1] * scale, 2 * face.chin_half_width * scale, domain.texture], np.float32)


def _composed(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


DRAWINGS = Artist(draw_face, measures_of)
"""The drawings that the demo models in the package are trained on."""
