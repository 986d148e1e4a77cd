"""Crops beyond the photograph's edge, against FFHQ's algorithm as it was published, in the photograph's own pixels."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from serving.faces.alignment import Photo, Placement, crop, prealigned

SIZE = 256


def photograph() -> Photo:
    """Smooth colours with some texture, 400x300."""
    random = np.random.default_rng(3)
    coarse = cv2.resize(random.uniform(0, 255, (8, 10, 3)), (400, 300), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(random.normal(0, 60, (300, 400, 3)), (0, 0), 2)
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def square(x: float, y: float, side: float, degrees: float = 0) -> Placement:
    a = np.radians(degrees)
    axes = side * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.column_stack([axes, np.array([x, y]) - axes @ [0.5, 0.5]])


def published(photo: Photo, placement: Placement) -> NDArray[np.float64]:
    """The steps crop, pad and transform of the script, for a side below 1024 pixels, where it does not shrink."""
    side = np.hypot(*placement[:, 0])
    quad = (placement @ np.array([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])).T
    border = max(round(side * 0.1), 3)
    low, high = np.floor(quad.min(0)).astype(int) - border, np.ceil(quad.max(0)).astype(int) + border
    left, top = np.maximum(low, 0)
    image = photo[top : high[1], left : high[0]].astype(np.float64)
    quad = quad - [left, top]
    height, width = image.shape[:2]
    before = np.maximum(-np.floor(quad.min(0)).astype(int) + border, 0)
    after = np.maximum(np.ceil(quad.max(0)).astype(int) - [width, height] + border, 0)
    if max(*before, *after) > border - 4:
        before, after = (np.maximum(pad, round(side * 0.3)) for pad in (before, after))
        image = np.pad(image, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "reflect")
        y, x, _ = np.ogrid[: image.shape[0], : image.shape[1], :1]
        mask = np.maximum(
            1 - np.minimum(x / before[0], (image.shape[1] - 1 - x) / after[0]),
            1 - np.minimum(y / before[1], (image.shape[0] - 1 - y) / after[1]),
        )
        image += (cv2.GaussianBlur(image, (0, 0), side * 0.02) - image) * np.clip(mask * 3 + 1, 0, 1)
        image += (np.median(image, axis=(0, 1)) - image) * np.clip(mask, 0, 1)
        quad = quad + before
    corner, below, _, beside = quad
    matrix = np.column_stack([(beside - corner) / SIZE, (below - corner) / SIZE, corner])
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5]
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP).astype(np.float64)


def decibels(a: NDArray[np.float64], b: Photo) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


@pytest.mark.parametrize("degrees", [0, 30])
@pytest.mark.parametrize(
    ("x", "y"),
    [(40, 150), (360, 150), (200, 40), (200, 270), (30, 40)],
    ids=["left", "right", "top", "bottom", "corner"],
)
def test_a_crop_beyond_the_edge_is_that_of_ffhqs_script(x: float, y: float, degrees: float) -> None:
    photo, placement = photograph(), square(x, y, 200, degrees)
    # Measured 42 dB and more; mirrored alone it was 21 to 28.
    assert decibels(published(photo, placement), crop(photo, placement)) > 40


def test_a_crop_inside_the_photograph_is_sampled_alone() -> None:
    photo, placement = photograph(), square(200, 150, 160, 10)
    assert decibels(published(photo, placement), crop(photo, placement)) > 45


def test_an_aligned_crop_is_not_padded() -> None:
    photo = np.ascontiguousarray(photograph()[:SIZE, :SIZE])
    np.testing.assert_array_equal(prealigned(photo)[0], photo)


def test_padding_comes_in_gradually_as_a_face_leaves_the_picture() -> None:
    photo = photograph()
    crops = [crop(photo, square(101 - shift, 150, 200)).astype(float) for shift in np.arange(0, 20, 0.5)]
    steps = [np.abs(b - a).max() for a, b in pairwise(crops)]
    assert max(steps) < 12  # a shift by half a pixel alone changes up to 8 levels


def test_even_a_line_of_pixels_can_be_padded() -> None:
    assert crop(np.full((300, 1, 3), 70, np.uint8), square(0, 150, 100)).shape == (SIZE, SIZE, 3)
