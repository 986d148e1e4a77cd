from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.contract.errors import RequestError
from export.demo_face import demo_photograph
from serving.faces.alignment import align, crop, prealigned
from serving.faces.paste import paste, paste_into, soft_ellipse

PHOTO, POINTS = demo_photograph()
CROP, PLACEMENT = align(PHOTO, POINTS)
PINK = np.full((1024, 1024, 3), (255, 0, 255), np.uint8)


def inside(photo: NDArray[np.uint8], placement: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the photograph's pixels that lie in the crop's square."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    u, v = np.linalg.solve(placement[:, :2], np.stack([x.ravel(), y.ravel()]) - placement[:, 2:])
    return ((u > 0) & (u < 1) & (v > 0) & (v < 1)).reshape(x.shape)


def test_pixels_outside_of_the_crop_stay_as_they_were() -> None:
    result = paste(PHOTO, PINK, PLACEMENT)
    assert result.dtype == PHOTO.dtype
    assert result.shape == PHOTO.shape
    outside = ~inside(PHOTO, PLACEMENT)
    np.testing.assert_array_equal(result[outside], PHOTO[outside])


def test_the_photograph_itself_is_not_changed() -> None:
    before = PHOTO.copy()
    paste(PHOTO, PINK, PLACEMENT)
    np.testing.assert_array_equal(PHOTO, before)


def test_the_middle_of_the_face_is_the_picture_and_the_crops_border_the_photograph() -> None:
    placed = crop(paste(PHOTO, PINK, PLACEMENT), PLACEMENT)
    assert (placed[100:156, 100:156] == PINK[0, 0]).all()
    np.testing.assert_array_equal(placed[:, :8], CROP[:, :8])


@pytest.mark.parametrize("size", [64, 256, 1000])
def test_pasting_back_what_was_cut_out_changes_little(size: int) -> None:
    picture = crop(PHOTO, PLACEMENT, size)
    difference = np.abs(paste(PHOTO, picture, PLACEMENT).astype(int) - PHOTO)
    # Two samplings blur the picture: measured 0.84, 0.21 and 0.184; with an offset of half a pixel of the crop 1.22,
    # 0.37 and 0.204.
    assert difference.mean() < {64: 1.0, 256: 0.29, 1000: 0.194}[size]


def test_a_picture_without_detail_leaves_no_seam() -> None:
    photo = np.full((300, 300, 3), 131, np.uint8)
    np.testing.assert_array_equal(paste(photo, np.full((512, 512, 3), 131, np.uint8), PLACEMENT / 2), photo)


def test_a_shrunk_picture_is_averaged() -> None:
    checkers = np.indices((1024, 1024)).sum(0) % 2 * np.uint8(255)
    picture = np.repeat(checkers[..., None], 3, axis=2).astype(np.uint8)
    placed = paste(np.zeros((400, 400, 3), np.uint8), picture, np.array([[100, 0, 150], [0, 100, 150]], np.float64))
    # Squares of one pixel become grey when they are averaged; if pixels were skipped, some would stay black or white.
    assert (np.abs(placed[190:210, 190:210].astype(int) - 127) <= 2).all()


@pytest.mark.parametrize("shift", [(-500, 0), (600, 0), (0, 460), (-120, -80), (0, -40)])
def test_a_crop_may_lie_partly_or_wholly_beyond_the_photograph(shift: tuple[float, float]) -> None:
    moved = PLACEMENT + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    outside = ~inside(PHOTO, moved)
    np.testing.assert_array_equal(paste(PHOTO, PINK, moved)[outside], PHOTO[outside])


def test_an_aligned_picture_is_pasted_in_place() -> None:
    face = CROP
    _, placement = prealigned(face)
    np.testing.assert_array_equal(paste(face, face, placement), face)


@pytest.mark.parametrize("feather", [0.0, 0.3, 1.0])
def test_the_mask_is_soft_within_the_crop_and_ends_before_its_edge(feather: float) -> None:
    mask = soft_ellipse(feather)
    assert mask[128, 128] == pytest.approx(1, abs=1e-3 if feather < 1 else 0.01)
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.01 if feather else True
    np.testing.assert_array_equal(mask, mask[:, ::-1])
    assert not mask.flags.writeable


def test_pasting_into_a_photograph_touches_the_region_alone() -> None:
    photo = PHOTO.copy()
    paste_into(photo, PINK, PLACEMENT)
    np.testing.assert_array_equal(photo, paste(PHOTO, PINK, PLACEMENT))


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.5])
def test_opacity_is_a_share_of_the_change(opacity: float) -> None:
    photo = PHOTO.copy()
    paste_into(photo, PINK, PLACEMENT, opacity=opacity)
    whole = paste(PHOTO, PINK, PLACEMENT).astype(float) - PHOTO
    np.testing.assert_allclose(photo.astype(float) - PHOTO, opacity * whole, atol=1)


def test_a_mask_says_what_is_covered() -> None:
    left = np.zeros((64, 64), np.float32)
    left[:, :24] = 1
    photo = PHOTO.copy()
    paste_into(photo, PINK, PLACEMENT, mask=left)
    placed = crop(photo, PLACEMENT)
    assert (placed[20:-20, 20:80] == PINK[0, 0]).all()
    np.testing.assert_array_equal(placed[:, 120:], CROP[:, 120:])


def test_colour_match_gives_the_mean_of_what_is_covered() -> None:
    toned = crop(PHOTO, PLACEMENT, 512) // 2 + np.uint8(90)  # paler and brighter
    means = []
    for amount in (0.0, 0.5, 1.0):
        photo = PHOTO.copy()
        paste_into(photo, toned, PLACEMENT, mask=np.ones((8, 8), np.float32), colour_match=amount)
        means.append(
            np.abs(crop(photo, PLACEMENT)[32:-32, 32:-32].mean((0, 1)) - CROP[32:-32, 32:-32].mean((0, 1))).max()
        )
    assert means[0] > 4 * means[2]
    assert means[2] < means[1] < means[0]


def test_a_flat_picture_stays_flat_when_its_colours_are_matched() -> None:
    photo = PHOTO.copy()
    paste_into(photo, PINK, PLACEMENT, colour_match=1.0)
    middle = crop(photo, PLACEMENT)[100:156, 100:156]
    assert np.ptp(middle, axis=(0, 1)).max() <= 1


def test_numbers_beyond_their_range_are_refused() -> None:
    with pytest.raises(RequestError, match=r"opacity: got 1\.5, expected 0 to 1"):
        paste_into(PHOTO, PINK, PLACEMENT, opacity=1.5)
    with pytest.raises(RequestError, match="colour_match: got -1, expected 0 to 1"):
        paste_into(PHOTO, PINK, PLACEMENT, colour_match=-1)


@pytest.mark.parametrize(
    ("photo", "picture", "feather", "message"),
    [
        (PHOTO.astype(np.float32), PINK, 0.3, r"photograph: got float32 \[480, 640, 3\], expected uint8 \[H,W,3\]"),
        (PHOTO, PINK[..., 0], 0.3, r"picture: got uint8 \[1024, 1024\]"),
        (PHOTO, PINK[:512], 0.3, "picture: got 1024x512 pixels, expected the square picture"),
        (PHOTO, PINK, 1.5, "feather: got 1.5, expected 0 to 1"),
    ],
)
def test_other_arrays_are_refused(
    photo: NDArray[np.uint8], picture: NDArray[np.uint8], feather: float, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        paste(photo, picture, PLACEMENT, feather)
