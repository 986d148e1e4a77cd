"""Characters drawn as people look, for the encoder's training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_people import difference, with_traits
from numpy.typing import NDArray

from export.demo_face import demo_face
from export.demo_models.characters.person import CHARACTER
from export.demo_models.characters.render import draw_character
from export.demo_models.dataset import Faces, drawn_faces, drawn_people
from export.demo_models.domains import PHOTO
from export.demo_models.encoder_training import CHANGED_SHARE, PEOPLE_SHARE, training_picture
from export.demo_models.people import MOST_STUBBLE, SHIFTS, people_like
from export.demo_models.traits import INDEX, random_codes

SIDE = 64
NEUTRAL = dict.fromkeys(("yaw", "pitch", "parting", "hair_length", "skin_light", "light_side"), 0.0)
WOMAN = with_traits(random_codes(1, 3)[0], gender=-1, glasses=-1, age=-1, hair_light=-2, **NEUTRAL)
MAN = with_traits(WOMAN, gender=1, beard=2)
FOREHEAD, BESIDE_THE_NECK, CHIN = np.s_[14:20, 28:36], np.s_[40:52, 12:18], np.s_[52:56, 29:35]


def drawn(code: NDArray[np.float32], **variation: float) -> NDArray[np.uint8]:
    return draw_character(code, size=SIDE, variation=replace(CHARACTER, **variation))


def lightness(picture: NDArray[np.uint8], region: tuple[slice, slice]) -> float:
    return float(picture[region].mean())


def test_a_raised_hairline_bares_the_forehead() -> None:
    assert lightness(drawn(MAN, bare=20), FOREHEAD) > lightness(drawn(MAN), FOREHEAD) + 30


def test_exchanged_hair_is_long_on_men_and_short_on_women() -> None:
    long, short = drawn(MAN, exchanged=1), drawn(WOMAN, exchanged=1)
    assert lightness(long, BESIDE_THE_NECK) < lightness(drawn(MAN), BESIDE_THE_NECK) - 30
    assert lightness(short, BESIDE_THE_NECK) > lightness(drawn(WOMAN), BESIDE_THE_NECK) + 30


def test_stubble_lets_the_skin_shine_through() -> None:
    bearded, stubble = drawn(MAN), drawn(MAN, stubble=1)
    shaved = drawn(with_traits(MAN, beard=-2))
    assert lightness(bearded, CHIN) + 10 < lightness(stubble, CHIN) < lightness(shaved, CHIN) - 3


def test_the_shortest_beard_of_people_differs_from_a_shave() -> None:
    shortest, shaved = drawn(MAN, stubble=MOST_STUBBLE), drawn(with_traits(MAN, beard=-2))
    assert lightness(shortest, CHIN) < lightness(shaved, CHIN) - 40


def test_hair_is_as_thick_as_its_variation_says() -> None:
    above_the_head = [(difference(drawn(WOMAN, thickness=t), drawn(WOMAN, thickness=0.4))) for t in (0.4, 1, 1.8)]
    assert above_the_head == sorted(above_the_head)
    assert above_the_head[1] > 0.5


def test_people_differ_from_characters_in_the_shifted_traits_only() -> None:
    codes = random_codes(400, 1)
    before = codes.copy()
    people = list(people_like(codes, np.random.default_rng(0)))
    np.testing.assert_array_equal(codes, before)
    moved = np.stack([code for code, _ in people]) - codes
    shifts = np.zeros(codes.shape[1])
    shifts[[INDEX[trait] for trait in SHIFTS]] = np.array(list(SHIFTS.values())) * 0.6
    np.testing.assert_allclose(moved.mean(0), shifts, atol=0.1)
    np.testing.assert_array_equal(moved.any(0), shifts != 0)
    exchanged = [variation.exchanged > 0 for _, variation in people]
    assert 0.3 < np.mean(exchanged) < 0.5
    assert 0.9 * MOST_STUBBLE < max(variation.stubble for _, variation in people) <= MOST_STUBBLE


def test_people_are_drawn_for_the_codes_of_characters(tmp_path: Path) -> None:
    characters = drawn_faces(tmp_path / "photo.npy", 3, 1, PHOTO)
    people = drawn_people(tmp_path / "people.npy", 2, 1)
    np.testing.assert_array_equal(people.codes, characters.codes[:2])
    assert all(difference(*pair) > 1 for pair in zip(people.pictures, characters.pictures[:2], strict=True))
    np.testing.assert_array_equal(drawn_people(tmp_path / "again.npy", 2, 1).pictures, people.pictures)


def test_all_but_the_changed_share_of_pictures_keep_their_light_and_their_wall() -> None:
    face, corner, rng = demo_face(), np.s_[:24, -24:], np.random.default_rng(0)
    faces = Faces(random_codes(1, 0), face[None], np.zeros((1, 4), np.float32))
    shown = [training_picture(faces, faces, 0, rng) for _ in range(120)]
    kept = [difference(picture[corner], face[corner]) < 8 for picture in shown]
    assert np.mean(kept) == pytest.approx(1 - CHANGED_SHARE, abs=0.15)


def test_an_encoder_is_shown_renderings_changed_characters_and_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.demo_models.encoder_training.augmented", lambda picture, _: picture + 1)
    codes, measures = random_codes(2, 0), np.zeros((2, 4), np.float32)
    faces = Faces(codes, np.full((2, 256, 256, 3), 10, np.uint8), measures)
    people = Faces(codes[:1], np.full((1, 256, 256, 3), 20, np.uint8), measures[:1])
    rng = np.random.default_rng(1)
    shown = np.array([[training_picture(faces, people, index, rng).mean() for index in (0, 1)] for _ in range(200)])
    assert np.mean(shown == 10) == pytest.approx(1 - CHANGED_SHARE, abs=0.1)
    assert np.mean(shown[:, 0] == 21) == pytest.approx(CHANGED_SHARE * PEOPLE_SHARE, abs=0.1)
    assert np.mean(shown[:, 1] == 11) == pytest.approx(CHANGED_SHARE, abs=0.1)
    assert set(shown.ravel()) == {10, 11, 21}
