"""The drawn faces: traits, both domains, landmarks, clips."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_people import difference, with_traits
from numpy.typing import NDArray

from export.demo_face import demo_code
from export.demo_models.clips import room, talking_head
from export.demo_models.faces import CARTOON, PHOTO, Domain, draw_face, draw_into, measures_of
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
from serving.faces.alignment import align, placement_of_face

CODES = random_codes(6, 5)


def test_codes_are_normalised_and_their_attributes_clear() -> None:
    codes = random_codes(500, 1)
    np.testing.assert_allclose((codes**2).mean(1), 1, rtol=1e-5)
    assert np.abs(codes[:, ATTRIBUTES]).min() > 0.2
    assert 0.4 < attributes_of(codes).mean() < 0.6


def test_a_code_has_one_face() -> None:
    np.testing.assert_array_equal(draw_face(CODES[0]), draw_face(CODES[0]))
    assert difference(draw_face(CODES[0]), draw_face(CODES[1])) > 5


# Flat colours are the same in any light.
SHOWN = [
    (domain, trait) for domain in (PHOTO, CARTOON) for trait in TRAITS if (domain, trait) != (CARTOON, "light_warmth")
]


@pytest.mark.parametrize(("domain", "trait"), SHOWN)
def test_every_trait_shows(domain: Domain, trait: str) -> None:
    everything = dict.fromkeys(("glasses", "age", "expression"), 1.0)
    shown = max(
        difference(
            *(
                draw_face(with_traits(CODES[1], **{**everything, "gender": gender, trait: end}), domain)
                for end in (-1.2, 1.2)
            )
        )
        for gender in (-1, 1)
    )
    assert shown > 0.01


@pytest.mark.parametrize("domain", [PHOTO, CARTOON])
@pytest.mark.parametrize("code", CODES)
def test_a_drawn_face_is_the_crop_of_its_own_landmarks(code: NDArray[np.float32], domain: Domain) -> None:
    placement = np.array([[250, -40, 200], [40, 250, 90]], np.float64)
    _, points = draw_into(room(640, 480), code, placement, domain)
    np.testing.assert_allclose(placement_of_face(points), placement, atol=1e-6)


def test_a_person_in_a_room_is_cut_out_as_the_same_face() -> None:
    placement = np.array([[512, 0, 60], [0, 512, 20]], np.float64)
    photo, points = draw_into(room(640, 560), demo_code(), placement)
    aligned, _ = align(photo, points)
    head = np.s_[90:200, 90:166]
    assert difference(aligned[head], draw_face(demo_code())[head]) < 3  # measured 1.1, mostly the grain's sampling


def test_cartoons_have_large_eyes_small_chins_and_outlines() -> None:
    for code in CODES:
        photo, toon = measures_of(code, PHOTO), measures_of(code, CARTOON)
        assert toon[0] > 1.6 * photo[0]
        assert toon[1] < 0.8 * photo[1]
        steps = [np.mean(np.abs(np.diff(draw_face(code, d).astype(int), axis=1)).max(2) > 50) for d in (PHOTO, CARTOON)]
        assert steps[1] > 2 * steps[0]


def test_proportions_and_surface_are_independent() -> None:
    code = CODES[2]
    assert measures_of(code, Domain(0, 1))[0] == measures_of(code, PHOTO)[0]
    halfway = draw_face(code, Domain(0, 0.5)).astype(int)
    ends = draw_face(code, PHOTO).astype(int) + draw_face(code, Domain(0, 1))
    assert np.abs(2 * halfway - ends).max() <= 3


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


def test_a_person_in_a_clip_blinks_speaks_and_turns_before_a_still_room() -> None:
    frames = list(talking_head(demo_code(), 4, rate=8, size=(320, 240)))
    assert [frame.seconds for frame in frames] == [index / 8 for index in range(32)]
    mouths = [np.linalg.norm(frame.points[4] - frame.points[3]) for frame in frames]
    noses = [frame.points[2, 0] - frame.points[:2, 0].mean() for frame in frames]
    assert max(noses) - min(noses) > 1
    assert min(mouths) > 5
    corner = np.s_[:40, :40]
    assert all(difference(frame.picture[corner], room(320, 240)[corner]) == 0 for frame in frames)


def test_without_motion_only_eyes_and_mouth_of_a_clip_move() -> None:
    frames = list(talking_head(demo_code(), 2, rate=10, size=(320, 240), motion=0))
    points = np.stack([frame.points for frame in frames])
    assert np.ptp(points, axis=0).max() < 1e-9
    assert len({frame.picture.tobytes() for frame in frames}) > 5
