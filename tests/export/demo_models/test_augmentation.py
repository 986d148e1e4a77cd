"""The changes to pictures on which the demo's encoder is trained."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_people import difference

from export.demo_face import demo_face
from export.demo_models import augmentation
from export.demo_models.augmentation import augmented, jittered

FACE = demo_face()
HEAD, CORNER = np.s_[96:176, 96:160], np.s_[:24, -24:]


def test_a_jitter_moves_a_picture_by_a_few_pixels() -> None:
    moved = [jittered(FACE, np.random.default_rng(seed)) for seed in range(8)]
    assert all(picture.shape == FACE.shape and picture.dtype == FACE.dtype for picture in moved)
    assert all(0.2 < difference(picture, FACE) < 25 for picture in moved)


def test_changes_depend_on_the_generators_seed_alone() -> None:
    first, same, other = (augmented(FACE, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert difference(first, other) > 0.2


def test_changes_replace_the_wall_and_leave_the_face_in_its_place() -> None:
    before = FACE.copy()
    rng = np.random.default_rng(1)
    pictures = [augmented(FACE, rng) for _ in range(20)]
    np.testing.assert_array_equal(FACE, before)
    assert all(picture.shape == FACE.shape and picture.dtype == np.uint8 for picture in pictures)
    corners = np.array([picture[CORNER].mean((0, 1)) for picture in pictures])
    assert corners.std(0).min() > 25
    grey = [picture[HEAD].mean(2).ravel() for picture in pictures]
    assert np.median([np.corrcoef(each, FACE[HEAD].mean(2).ravel())[0, 1] for each in grey]) > 0.4


def test_unusual_light_is_dim_or_coloured_and_some_of_its_pictures_are_black_and_white(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels, colours = {}, {}
    for share in (0, 1):
        monkeypatch.setattr(augmentation, "UNUSUAL_SHARE", share)
        rng = np.random.default_rng(2)
        heads = np.stack([augmented(FACE, rng)[HEAD].mean((0, 1)) for _ in range(60)])
        levels[share], colours[share] = np.log(heads.mean(1)), np.log(heads[:, 0] / heads[:, 2])
    assert levels[1].min() < levels[0].min() - 0.5
    assert levels[1].std() > 2 * levels[0].std()
    assert colours[1].std() > 1.5 * colours[0].std()


def test_wide_hair_covers_the_wall_beside_the_head_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "PLAIN_SHARE", 1)
    white_or_black = {}
    for share in (0, 1):
        monkeypatch.setattr(augmentation, "WIDE_HAIR_SHARE", share)
        rng = np.random.default_rng(5)
        pictures = np.stack([augmentation.with_other_surroundings(FACE, rng) for _ in range(20)])
        assert max(difference(picture[HEAD], FACE[HEAD]) for picture in pictures) < 0.1
        plain = (pictures < 3).all(3) | (pictures > 252).all(3)
        white_or_black[share] = plain.mean(0)
    beside_the_head, corner = np.s_[60:90, 40:220], np.s_[:6, :6]
    for region, least, most in ((beside_the_head, 0.1, 0.9), (corner, 0.7, 1.01)):
        kept = white_or_black[1][region].sum() / white_or_black[0][region].sum()
        assert least < kept < most
