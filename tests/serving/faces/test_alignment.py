from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.contract.errors import AlignmentError
from export.demo_face import demo_photograph
from serving.faces.alignment import _sampled, align, crop, pixels_from_placement, placement_of_face, prealigned, side_of
from serving.faces.landmarks import CANONICAL_POINTS

FACE = CANONICAL_POINTS * 200 + [60, 40]


def reference_quad(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the FFHQ crop's top left, bottom left, bottom right and top right corner by the data set's own formula."""
    left, right, _, mouth_left, mouth_right = points
    eye_to_eye, eye_to_mouth = right - left, (mouth_left + mouth_right - left - right) / 2
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = (left + right) / 2 + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def reference_crop(photo: NDArray[np.uint8], quad: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return bilinear float64 samples at the centres of the crop's pixels, as Pillow's QUAD transform of quad + 0.5."""
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    top_left, bottom_left, _, top_right = quad
    x, y = (top_left[k] + (top_right - top_left)[k] * u + (bottom_left - top_left)[k] * v for k in (0, 1))
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    p = photo.astype(np.float64)
    upper = p[y0, x0] * (1 - fx) + p[y0, x0 + 1] * fx
    lower = p[y0 + 1, x0] * (1 - fx) + p[y0 + 1, x0 + 1] * fx
    return upper * (1 - fy) + lower * fy


def textured(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def turned(points: NDArray[np.float64], angle: float, scale: float, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + shift


def test_the_crop_of_the_average_face_is_the_square_that_it_was_averaged_in() -> None:
    # The match is not exact: the scale is a maximum, whose average exceeds the average face's scale.
    np.testing.assert_allclose(
        placement_of_face(CANONICAL_POINTS * 1000), [[1000, 0, 0], [0, 1000, 0]], rtol=0, atol=17
    )


@given(
    st.floats(-np.pi, np.pi),
    st.floats(0.5, 20),
    st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
    st.lists(st.floats(-8, 8), min_size=10, max_size=10),
)
def test_corners_are_those_of_the_formula_at_every_place_scale_and_rotation(
    angle: float, scale: float, shift: tuple[float, float], noise: list[float]
) -> None:
    points = turned(FACE + np.reshape(noise, (5, 2)), angle, scale, np.array(shift))
    placement = placement_of_face(points)
    corners = (placement @ np.array([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])).T
    np.testing.assert_allclose(corners, reference_quad(points), rtol=0, atol=1e-8)


@given(st.floats(-np.pi, np.pi), st.floats(0.5, 20), st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)))
def test_the_placement_moves_turns_and_grows_with_the_face(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    origin, moved = placement_of_face(FACE), placement_of_face(turned(FACE, angle, scale, np.array(shift)))
    expected = turned(origin.T, angle, scale, np.zeros(2)).T
    expected[:, 2] += shift
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-8)
    assert side_of(moved) == pytest.approx(scale * side_of(origin))


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_a_crop_is_sampled_where_the_formula_says_to_the_half_pixel(angle: float) -> None:
    photo = textured(400, 400)
    points = turned(FACE - 160, angle, 1.0, np.array([200.0, 200.0]))
    face, placement = align(photo, points)
    assert side_of(placement) < 256  # the crop is enlarged, so nothing is averaged
    difference = np.abs(face - reference_crop(photo, reference_quad(points), 256))
    # OpenCV rounds positions to 1/32 pixel: in x and in y they are off by up to 1/64 pixel, between neighbours that
    # differ by up to 255 levels. Measured at most 6.1, 0.87 on average; with an offset of half a crop pixel 143 and 32.
    assert difference.max() <= 8
    assert difference.mean() <= 1


def test_a_large_face_is_averaged_down_and_not_picked_at() -> None:
    photo = textured(1100, 1100)
    face, placement = align(photo, CANONICAL_POINTS * 1024 + 30)
    assert side_of(placement) / 256 > 3.9
    # Noise of standard deviation 74 averaged over about 16 pixels is below 74 / 4; single pixels would keep 74.
    assert face.std() < 20
    assert face.mean() == pytest.approx(photo.mean(), abs=1)


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_a_very_large_face_is_smoothed_as_by_a_gaussian_of_every_pixel(turn: float) -> None:
    photo = cv2.resize(textured(200, 200), (3100, 3100), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    placement = np.array([[3000, 3000 * turn, 50], [-3000 * turn, 3000, 50]])
    scale = side_of(placement) / 256
    blurred = cv2.GaussianBlur(photo, (0, 0), 0.5 * np.sqrt(scale**2 - 1))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(
        blurred, pixels_from_placement(placement, 256), (256, 256), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    difference = np.abs(_sampled(photo, placement, 256).astype(int) - expected)
    # Measured at most 0.9 on average; the differences are largest, 7 in one of a hundred, at the photograph's edges,
    # where the mirror line differs by half a pixel of the photograph.
    assert difference.mean() <= 1
    assert np.percentile(difference, 99) <= 8


def test_the_largest_aligned_picture_takes_seconds() -> None:
    start = time.perf_counter()
    cropped, _ = prealigned(np.zeros((9990, 9990, 3), np.uint8))
    assert cropped.shape == (256, 256, 3)
    assert time.perf_counter() - start < 30  # 0.5 s; a blur of every pixel took 100 s


@pytest.mark.parametrize("side", [1e6, 1e300, np.inf])
def test_a_face_far_larger_than_the_photograph_is_refused(side: float) -> None:
    with pytest.raises(AlignmentError, match=r"^face: got a face .* wide, expected one that is not far larger"):
        crop(textured(100, 100), np.array([[side, 0, 0], [0, side, 0]]))


def test_before_the_padding_the_mirror_image_lies_beyond_the_edge() -> None:
    photo = textured(300, 300)
    points = FACE - [110, 30]  # a crop from about -50 on
    around = 120
    wide = np.pad(photo, ((around, around), (around, around), (0, 0)), mode="reflect")
    mirrored = _sampled(photo, placement_of_face(points), 256)
    np.testing.assert_array_equal(mirrored, align(wide, points + around)[0])


def test_a_region_of_the_photograph_gives_what_the_whole_gives() -> None:
    whole = textured(900, 900)
    points = turned(FACE, 0.3, 1.7, np.array([150.0, 150.0]))
    far = whole.copy()
    far[:20] = far[-20:] = 0
    np.testing.assert_array_equal(align(whole, points)[0], align(far, points)[0])


def test_an_aligned_picture_of_the_right_size_passes_unchanged() -> None:
    face = textured(256, 256)
    cropped, placement = prealigned(face)
    np.testing.assert_array_equal(cropped, face)
    np.testing.assert_array_equal(pixels_from_placement(placement, 256), [[1, 0, 0], [0, 1, 0]])


def test_the_drawn_photograph_gives_an_upright_face() -> None:
    photo, points = demo_photograph()
    _, placement = align(photo, points)
    matrix = pixels_from_placement(placement, 256)
    eyes = np.linalg.solve(matrix[:, :2], (points[:2] - matrix[:, 2]).T).T
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=1)
    np.testing.assert_allclose(eyes / 256, CANONICAL_POINTS[:2], rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            FACE[[1, 0, 2, 4, 3]],
            "face: got points that are mirrored or upside down, expected the left one of each pair",
        ),
        (FACE * [1, -1], "mirrored or upside down"),
        (FACE[:4], r"points of shape \[4, 2\], or not finite, expected five finite points"),
        (np.full((5, 2), np.nan), "or not finite"),
        (np.zeros((5, 2)), "mirrored or upside down"),
        (FACE / 20, "a face 10 pixels wide, expected at least 24 pixels"),
    ],
)
def test_points_that_are_no_upright_face_are_refused(points: NDArray[np.float64], message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        placement_of_face(points)


@pytest.mark.parametrize("shift", [(-400, 0), (0, 400), (400, 400)])
def test_a_face_outside_of_the_photograph_is_refused(shift: tuple[float, float]) -> None:
    with pytest.raises(AlignmentError, match="got a face outside the photograph"):
        align(textured(300, 300), FACE + shift)


def test_a_whole_photograph_is_no_aligned_face() -> None:
    with pytest.raises(AlignmentError, match=r"picture: got 640x480 pixels, expected the square .* give --align"):
        prealigned(np.zeros((480, 640, 3), np.uint8))


def test_a_crop_larger_than_the_photograph_is_still_filled() -> None:
    placement = np.array([[300, 0, -100], [0, 300, -100]], np.float64)
    assert crop(np.full((40, 40, 3), 7, np.uint8), placement).min() == 7


@pytest.mark.parametrize("side", [1, 2, 23])
def test_an_aligned_face_of_a_few_pixels_is_refused(side: int) -> None:
    sentence = f"^dot: got {side}x{side} pixels, expected an aligned face of at least 24 pixels; give a larger picture"
    with pytest.raises(AlignmentError, match=sentence):
        prealigned(np.zeros((side, side, 3), np.uint8), name="dot")
    assert prealigned(np.full((24, 24, 3), 9, np.uint8))[0].shape == (256, 256, 3)
