"""The traits that are a character's code, and edits of them."""

from __future__ import annotations

import numpy as np

from export.demo_models.traits import (
    ATTRIBUTE_MODES,
    ATTRIBUTES,
    IDENTITY,
    INDEX,
    SCENE,
    TRAITS,
    attributes_of,
    edited,
    random_codes,
)


def test_codes_are_normalised_and_their_attributes_clear() -> None:
    codes = random_codes(500, 1)
    np.testing.assert_allclose((codes**2).mean(1), 1, rtol=1e-5)
    assert np.abs(codes[:, ATTRIBUTES]).min() > 0.2
    assert 0.4 < attributes_of(codes).mean() < 0.6


def test_an_edit_changes_attributes_and_their_looks_alone() -> None:
    codes, fresh = random_codes(50, 2), random_codes(50, 3)
    target = attributes_of(codes)
    target[:, 1] = 1 - target[:, 1]
    after = edited(codes, target, fresh)
    np.testing.assert_array_equal(attributes_of(after), target)
    kept = [INDEX[name] for name in (*IDENTITY, *SCENE)]
    ratio = after[:, kept] / codes[:, kept]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)  # all are normalised


def test_the_groups_of_traits_are_all_traits_once() -> None:
    names = ["gender", "glasses", "age", "expression", *sum(ATTRIBUTE_MODES.values(), ()), *IDENTITY, *SCENE]
    assert sorted(names) == sorted(TRAITS)
    assert len(set(names)) == len(names)
