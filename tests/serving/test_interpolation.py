"""Pictures on the way from a face to its edit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TinyModels
from toon_fakes import FakeToonifier
from toonify_command import Toonify

from engines.contract.errors import RequestError
from export.demo_face import demo_face
from serving.controls import Style
from serving.faces.images import read_picture, write_picture
from serving.interpolation import interpolated
from serving.sheet import GAP
from serving.toonifier import EngineToonifier

FACES = np.stack([demo_face(), demo_face()[:, ::-1]])
EDIT = Style({"age": 1.0}, exact=True)


def test_the_steps_go_from_the_face_to_the_edit(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with EngineToonifier(models.encoder, [models.generators["plain"]], models.isf) as toonifier:
        first, *between, last = interpolated(toonifier, FACES, EDIT, 4)[0]
        np.testing.assert_array_equal(first, toonifier.toonify(FACES, Style()))
        np.testing.assert_array_equal(last, toonifier.toonify(FACES, EDIT))
        third = toonifier.toonify(FACES, replace(EDIT, strength=1 / 3))
        np.testing.assert_array_equal(between[0], third)
        assert not np.array_equal(first, last)


def test_the_faces_are_encoded_and_read_once() -> None:
    toonifier = FakeToonifier(attributes=lambda faces: np.zeros((len(faces), 2), np.float32))
    assert len([*interpolated(toonifier, FACES, Style({"age": 1.0}), 3)[0]]) == 3
    assert toonifier.calls == [("encode", 2), ("attributes", 2), *[("render", 2)] * 3]


@pytest.fixture
def face(tmp_path: Path) -> Path:
    write_picture(tmp_path / "face.png", demo_face())
    return tmp_path / "face.png"


def test_a_command_makes_a_sheet_of_the_steps(toonify: Toonify, face: Path, tiny_model_directories: TinyModels) -> None:
    models, output = tiny_model_directories, face.with_name("steps.png")
    generator = models.generators["plain"]
    model = ("--encoder", models.encoder, "--isf", models.isf, "--generator", generator, "--exact")
    edit = ("--attribute", "age=1", "--steps", 6)
    assert toonify("image", face, "-o", output, *model, *edit) == (0, f"{output}\n", "")
    with EngineToonifier(models.encoder, [generator], models.isf) as toonifier:
        (picture,) = toonifier.toonify(FACES[:1], Style())
    side = len(picture)
    sheet = read_picture(output)
    assert sheet.shape == (2 * (side + 2 * GAP), 3 * (side + 2 * GAP), 3)
    np.testing.assert_array_equal(sheet[GAP : GAP + side, GAP : GAP + side], picture)


@pytest.mark.parametrize("options", [(), ("--attribute", "age=1", "--faces", "all")])
def test_steps_need_an_edit_of_one_face(toonify: Toonify, face: Path, options: tuple[str, ...]) -> None:
    code, _, err = toonify("image", face, "-o", face.with_name("steps.png"), "--steps", 4, *options)
    assert code == 2
    assert "give --attribute and one face" in " ".join(err.replace("│", " ").split())


def test_an_unknown_attribute_is_refused_before_any_picture(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with (
        EngineToonifier(models.encoder, [models.generators["plain"]], models.isf) as toonifier,
        pytest.raises(RequestError, match="no attribute of the model"),
    ):
        next(interpolated(toonifier, FACES, Style({"beard": 1.0}), 3)[0])
