"""How far changes of light and size move an encoder's codes: how it is measured and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.changed_faces import MODULE, RESULTS, MovedCodeRow, changes, moved_codes, table
from benchmarks.demo_models import MODEL_CARD
from benchmarks.generated import with_section
from benchmarks.photographed_faces import LabelledFace
from benchmarks.records import read_records
from export.demo_models.domains import PHOTO
from export.demo_models.measure import rendered
from export.demo_models.traits import random_codes

LABEL = LabelledFace("a.jpg", 0.5, 0.5, glasses=False, grey_hair=False, beard=True, smile=True, skin=1, hair=-2)


def test_each_change_is_that_of_its_name() -> None:
    face = np.random.default_rng(0).integers(40, 140, (256, 256, 3), np.uint8)
    changed = changes(face)
    assert all(picture.shape == face.shape and picture.dtype == np.uint8 for picture in changed.values())
    assert changed["half the light"].mean() == pytest.approx(face.mean() / 2, abs=1)
    assert np.ptp(changed["black-and-white"].astype(int), axis=2).max() == 0
    warm, cold = (changed[f"{colour} light"].mean((0, 1)) for colour in ("warm", "cold"))
    assert warm[0] > warm[2] + 20
    assert cold[2] > cold[0] + 20
    assert changed["light from the side"][:, -60:].mean() > 2 * changed["light from the side"][:, :60].mean()
    assert changed["reduced to 48 pixels"].std() < face.std() / 2


def test_a_code_moves_in_distances_between_two_faces() -> None:
    faces = rendered(random_codes(6, seed=40_000_002), PHOTO)
    rows = moved_codes([replace(LABEL, photograph=f"{index}.jpg") for index in range(6)], faces)
    assert [row.photograph for row in rows[:6]] == [f"{index}.jpg" for index in range(6)]
    assert len(rows) == 6 * len(changes(faces[0]))
    assert all(0 < row.moved < 3 for row in rows)
    by_light = {row.change: row.moved for row in rows if row.photograph == "0.jpg"}
    assert by_light["half the light"] < by_light["an eighth of the light"]


def test_the_table_tells_the_median_of_the_last_run() -> None:
    rows = [MovedCodeRow("old", "c", "a.jpg", 0, 0, "warm light", 9.0)]
    rows += [MovedCodeRow("new", "c", "a.jpg", i, 0, "warm light", moved) for i, moved in enumerate((0.1, 0.2, 0.3))]
    assert "| warm light | 0.20 | 0.29 |" in table(rows)
    assert "3 photographed faces" in table(rows)


def test_the_model_card_shows_the_last_run() -> None:
    page = MODEL_CARD.read_text()
    assert page == with_section(page, MODULE, table(read_records(RESULTS, MovedCodeRow)))
