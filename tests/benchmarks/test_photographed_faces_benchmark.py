"""What characters share with the people they are made from: how it is measured and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.demo_models import MODEL_CARD
from benchmarks.generated import with_section
from benchmarks.photographed_faces import (
    GRADUAL,
    LABELS,
    MODULE,
    RESULTS,
    LabelledFace,
    TraitRow,
    table,
    traits_of_characters,
    traits_of_person,
)
from benchmarks.records import read_records
from export.demo_models.domains import PHOTO
from export.demo_models.files import DemoFiles
from export.demo_models.measure import rendered
from export.demo_models.models import load_models
from export.demo_models.traits import INDEX, random_codes

LABEL = LabelledFace("a.jpg", 0.5, 0.5, glasses=False, grey_hair=False, beard=True, smile=True, skin=1, hair=-2)


def test_every_label_is_a_face_of_a_photograph() -> None:
    labels = read_records(LABELS, LabelledFace)
    assert len(labels) > 80
    assert len({(label.photograph, label.x, label.y) for label in labels}) == len(labels)
    assert all(0 < label.x < 1 and 0 < label.y < 1 for label in labels)


@pytest.mark.parametrize("angle", [0, 0.3])
def test_a_head_turns_by_the_share_of_its_eyes_distance_that_its_nose_is_moved_by(angle: float) -> None:
    points = np.array([[0, 0], [40, 0], [30, 25], [5, 40], [35, 40]], np.float64)
    across, down = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    placed = points @ np.stack([across, down]) + [100, 50]
    face = np.zeros((256, 256, 3), np.uint8)
    assert traits_of_person(LABEL, placed, face)["turn of the head"] == pytest.approx(0.25)


def test_lightnesses_are_those_of_cheeks_and_hair() -> None:
    face = np.full((256, 256, 3), 80, np.uint8)
    face[:50], face[130:180, 70:180] = 20, 200
    traits = traits_of_person(LABEL, np.eye(5, 2), face)
    assert (traits["lightness of the cheeks"], traits["lightness of the hair"]) == (200, 20)


def test_the_colour_of_grey_hair_is_not_compared() -> None:
    face = np.zeros((256, 256, 3), np.uint8)
    assert traits_of_person(LABEL, np.eye(5, 2), face)["hair, by eye"] == -2
    assert "hair, by eye" not in traits_of_person(replace(LABEL, grey_hair=True), np.eye(5, 2), face)


def test_characters_made_from_renderings_share_their_traits() -> None:
    codes = random_codes(24, seed=40_000_001)
    found = traits_of_characters(load_models(DemoFiles()), rendered(codes, PHOTO))
    for trait, name in (("glasses", "glasses"), ("grey hair", "age"), ("smile", "expression")):
        assert np.mean([each[trait] for each in found] == (codes[:, INDEX[name]] > 0)) > 0.9
    turns = [each["turn of the head"] for each in found]
    assert np.corrcoef(turns, codes[:, INDEX["yaw"]])[0, 1] > 0.95
    skin = [each["skin, by eye"] for each in found]
    assert np.corrcoef(skin, codes[:, INDEX["skin_light"]])[0, 1] > 0.9


def test_the_tables_tell_what_is_shared_in_the_last_run() -> None:
    def rows(run: str, trait: str, *pairs: tuple[float, float]) -> list[TraitRow]:
        return [TraitRow(run, "c", "a.jpg", i, 0, trait, *pair) for i, pair in enumerate(pairs)]

    new = [row for trait in GRADUAL for row in rows("new", trait, (0.1, 1), (0.2, 2), (0.3, 3))]
    new += rows("new", "glasses", (1, 1), (0, 1), (0, 0))
    text = table([*rows("old", GRADUAL[0], (0.1, 3), (0.2, 2)), *new])
    assert "3 photographed faces" in text
    assert f"| {GRADUAL[0]} | 1.00 |" in text
    assert "| glasses | 67 % | 1 of 1 | 1 of 2 |" in text


def test_the_model_card_shows_the_last_run() -> None:
    page = MODEL_CARD.read_text()
    assert page == with_section(page, MODULE, table(read_records(RESULTS, TraitRow)))
