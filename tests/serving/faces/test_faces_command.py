from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from face_fakes import FakeMesh, face_of, photo_of_dots, points_at
from toonify_command import Toonify

from serving.faces import cli
from serving.faces.alignment import placement_of_face, side_of
from serving.faces.images import read_picture, write_picture
from serving.faces.landmark_files import FileLandmarker
from serving.faces.landmarks import Face
from serving.faces.mesh import FaceMesh, MeshLandmarker
from serving.faces.pose import yaw_of

POINTS = points_at(300, 220, 200, 20)
PHOTO = photo_of_dots(POINTS)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph of one face that looks towards the camera, and of one that is turned away."""
    away = replace(face_of(points_at(520, 220, 100)), presence=0.0)

    def found(*_: object) -> tuple[Face, ...]:
        return (*MeshLandmarker(lambda *_: (face_of(POINTS),), FaceMesh(FakeMesh()))(PHOTO), away)

    monkeypatch.setattr(cli, "landmarker_from_option", lambda option: found)
    write_picture(tmp_path / "a.png", PHOTO)
    return tmp_path / "a.png"


def test_each_face_has_a_line_with_its_square_and_whether_it_is_used(toonify: Toonify, photo: Path) -> None:
    code, out, _ = toonify("faces", photo)
    head, names, first, second = out.splitlines()
    assert (code, head) == (0, f"{photo}: 2 faces")
    assert names.split() == ["centre", "side", "angle", "yaw", "score", "presence", "used"]
    assert first.split()[-1] == "yes"
    assert float(first.split()[3]) == pytest.approx(20, abs=1)
    assert second.rstrip().endswith("no, turned away or not whole")


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(toonify: Toonify, photo: Path) -> None:
    photo.with_name("0.jpg").write_text("no picture")
    code, out, err = toonify("faces", photo.parent)
    assert code == 1
    assert out.splitlines()[0] == f"{photo}: 2 faces"
    assert err.startswith(f"error: {photo.with_name('0.jpg')}: got ")
    assert err.count("\n") == 1


def test_the_json_gives_the_same_faces_to_align_file(toonify: Toonify, photo: Path) -> None:
    code, out, err = toonify("faces", photo, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["faces"][0]["square"]["angle"] == pytest.approx(20, abs=1)
    file = photo.with_name("faces.jsonl")
    file.write_text(out)
    face, away = FileLandmarker(file)(PHOTO, "a.png")
    np.testing.assert_allclose(face.points, POINTS, rtol=0, atol=2.5)
    assert face.mesh is not None
    assert face.mesh.points.shape == (478, 3)
    assert record["faces"][0]["yaw"] == pytest.approx(yaw_of(face), abs=0.1)
    assert (away.presence, away.mesh) == (0.0, None)


def test_squares_and_points_are_drawn_into_a_copy(toonify: Toonify, photo: Path) -> None:
    drawing = photo.with_name("drawn.png")
    assert toonify("faces", photo, "--draw", drawing)[0] == 0
    result = read_picture(drawing)
    assert result.shape == PHOTO.shape
    red, green, _ = result.astype(int).transpose(2, 0, 1)
    assert (green - red > 40).any()  # the square of the face that is used
    assert (red - green > 40)[:, 450:].any()  # that of the other one
    assert toonify("faces", photo, "--draw", drawing)[0] == 1  # it exists
    assert toonify("faces", photo, photo, "--draw", drawing, "--force")[0] == 2


def test_a_face_too_small_to_be_toonified_is_told_and_drawn_as_one_that_is_not_used(
    toonify: Toonify, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 47.97 pixels, which round to 48.0.
    small = face_of(points_at(300, 220, 47.97 / side_of(placement_of_face(points_at(0, 0, 100))) * 100))
    monkeypatch.setattr(cli, "landmarker_from_option", lambda option: lambda *_: (small,))
    drawing = photo.with_name("drawn.png")
    _, out, _ = toonify("faces", photo, "--draw", drawing)
    assert out.rstrip().endswith("with --smallest-face")
    red, green, _ = read_picture(drawing)[192:248, 272:328].astype(int).transpose(2, 0, 1)
    assert (red - green > 100).any()
    assert not (green - red > 40).any()


def test_a_photograph_without_a_face_is_no_error(toonify: Toonify, tmp_path: Path) -> None:
    write_picture(tmp_path / "wall.png", np.full((300, 400, 3), 128, np.uint8))
    assert toonify("faces", tmp_path / "wall.png", "--align", "haar")[:2] == (0, f"{tmp_path / 'wall.png'}: no faces\n")
    code, out, _ = toonify("faces", tmp_path / "wall.png", "--align", "haar", "--json")
    assert (code, json.loads(out)) == (0, {"picture": "wall.png", "faces": []})
    assert toonify("faces", tmp_path / "wall.png", "--align", "none")[0] == 2
