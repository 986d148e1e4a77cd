"""Faces of photographs that are left alone: small ones, and on request those that the encoder does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from face_fakes import face_of, points_at
from fake_triton import FakeTriton, running
from tiny_models import TinyModels
from toon_fakes import FakeToonifier
from toonify_command import Toonify

from engines.contract.arrays import Picture, Pictures
from engines.contract.errors import AlignmentError, RequestError
from serving.back_end import BackEnd
from serving.faces.images import read_picture, write_picture
from serving.faces.left_alone import CountedFaces, FaceCounts
from serving.faces.photograph import placed_faces, small_faces, toonified_crop, toonified_face, toonified_photograph

PHOTO = np.full((480, 640, 3), 128, np.uint8)
PHOTO[:, 320:] = 250
LARGE, BRIGHT, SMALL = (face_of(points_at(*place)) for place in ((150, 200, 100), (450, 200, 80), (300, 400, 40)))


def pink(faces: Pictures) -> Pictures:
    return np.broadcast_to(np.array((240, 90, 160), np.uint8), (len(faces), 64, 64, 3)).copy()


def measured(faces: Pictures) -> tuple[Pictures, np.ndarray]:
    """Pink pictures, and distances by which the faces at the right are far."""
    return pink(faces), faces.reshape(len(faces), -1).mean(1).astype(np.float32) / 200


def changed(result: Picture) -> tuple[bool, bool, bool]:
    """Whether the large, the bright and the small face were toonified."""
    differs = (result != PHOTO).any(-1)
    return bool(differs[150:250, 100:200].any()), bool(differs[150:250, 400:500].any()), bool(differs[385:].any())


def test_small_faces_of_a_photograph_are_left_alone() -> None:
    faces = [LARGE, BRIGHT, SMALL]
    assert changed(toonified_photograph(PHOTO, faces, pink, every_face=True)) == (True, True, False)
    assert changed(toonified_photograph(PHOTO, faces, pink, every_face=True, smallest=30)) == (True, True, True)
    assert [small_faces(faces, size) for size in (30, 48, 90)] == [0, 1, 2]


def test_a_photograph_of_small_faces_alone_is_an_error_with_a_way_out() -> None:
    sentence = r"a.jpg: got only small faces, the largest 39 pixels wide, expected at least one of 48 pixels; take a"
    with pytest.raises(AlignmentError, match=sentence):
        placed_faces([SMALL], "a.jpg")
    with pytest.raises(AlignmentError, match="photograph: got only small faces"):
        toonified_face(PHOTO, [SMALL], pink)
    assert toonified_face(PHOTO, [SMALL], pink, smallest=39).shape == (64, 64, 3)


@pytest.mark.parametrize("leave", [False, True])
def test_far_faces_are_counted_and_left_alone_on_request(leave: bool) -> None:
    counted = CountedFaces(measured, leave=leave)
    result = toonified_photograph(PHOTO, [LARGE, BRIGHT], counted, every_face=True)
    assert counted.far == 1
    assert changed(result) == (True, not leave, False)


def test_a_far_face_alone_cannot_be_left_alone() -> None:
    with pytest.raises(AlignmentError, match=r"picture: got a face unlike those that the encoder knows, which is left"):
        toonified_crop(np.full((64, 64, 3), 250, np.uint8), CountedFaces(measured, leave=True))


def test_where_the_distance_is_not_known_nothing_is_counted_and_none_can_be_left_alone() -> None:
    counted = CountedFaces(lambda faces: (pink(faces), None), leave=False)
    toonified_photograph(PHOTO, [LARGE], counted)
    assert counted.far is None
    with pytest.raises(RequestError, match="far codes: got models that do not tell how far out a face's code lies, or"):
        toonified_photograph(PHOTO, [LARGE], CountedFaces(lambda faces: (pink(faces), None), leave=True))


@pytest.fixture
def crops(tmp_path: Path) -> list[Path]:
    """Two aligned faces."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        write_picture(path, PHOTO[:256, :256])
    return paths


@pytest.mark.parametrize("where", ["here", "served"])
def test_a_run_that_cannot_tell_what_to_leave_alone_ends_before_its_first_file(
    toonify: Toonify, crops: list[Path], tiny_model_directories: TinyModels, where: str
) -> None:
    tiny = tiny_model_directories
    common = [*crops, "-o", crops[0].with_name("out"), "--align", "none", "--far-codes", "leave"]
    with running(FakeTriton()) as server:
        here = ["--encoder", tiny.encoder, "--generator", tiny.generators["plain"]]
        code, out, err = toonify("image", *common, *(here if where == "here" else ["--url", server.url]))
    assert (code, out) == (1, "")
    assert err.startswith("error: far codes: got models that do not tell how far out a face's code lies")
    assert err.count("\n") == 1


def test_jpeg_on_the_wire_and_faces_to_be_left_alone_contradict_each_other(toonify: Toonify, crops: list[Path]) -> None:
    options = ["-o", crops[0].with_name("out"), "--far-codes", "leave", "--jpeg", "--url", "localhost:1"]
    code, out, err = toonify("image", *crops, *options)
    assert (code, out) == (1, "")
    assert err == (
        "error: JPEG on the wire: got faces with far codes to be left alone, expected pictures on the wire, with which "
        "a server tells how far out codes lie; leave --jpeg out, or choose another --far-codes.\n"
    )


def test_servers_that_are_away_are_no_reason_to_refuse_it(toonify: Toonify, crops: list[Path]) -> None:
    options = ["-o", crops[0].with_name("out"), "--align", "none", "--far-codes", "leave"]
    code, _, err = toonify("image", *crops, *options, "--url", "localhost:1", "--timeout", 0.1)
    assert (code, err.count("error: server at localhost:1")) == (75, 2)


def test_there_is_nothing_to_remark_where_all_faces_are_good() -> None:
    assert FaceCounts(0, 0).remarks == FaceCounts(0, None).remarks == []


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph of three faces, their landmarks, and a toonifier to which bright faces are far ones."""
    monkeypatch.setattr(BackEnd, "toonifier", lambda self: FakeToonifier(reach=200 if self.guard else None))
    write_picture(tmp_path / "photo.png", PHOTO)
    faces = [{"points": face.points.tolist()} for face in (LARGE, BRIGHT, SMALL)]
    (tmp_path / "faces.json").write_text(json.dumps([{"picture": "photo.png", "faces": faces}]))
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("options", "shown", "counts"),
    [
        ([], (True, True, False), {"small": 1, "far": 1}),
        (["--far-codes", "leave"], (True, False, False), {"small": 1, "far": 1}),
        (["--far-codes", "keep", "--smallest-face", "0"], (True, True, True), {"small": 0, "far": None}),
    ],
)
def test_the_command_reports_them(
    toonify: Toonify, photo: Path, options: list[str], shown: tuple[bool, ...], counts: dict[str, int | None]
) -> None:
    output = photo.with_name("toon.png")
    common = ["-o", output, "--align", f"file:{photo.with_name('faces.json')}", "--faces", "all", *options]
    code, out, _ = toonify("image", photo, *common, "--progress", "json")
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {"event": "finished", "target": str(output), **counts}
    assert changed(read_picture(output)) == shown


def test_the_command_tells_a_person(toonify: Toonify, photo: Path) -> None:
    output = photo.with_name("toon.png")
    common = ["-o", output, "--align", f"file:{photo.with_name('faces.json')}", "--faces", "all"]
    assert toonify("image", photo, *common) == (
        0,
        f"{output}\n",
        f"note: faces of {output}: 1 too small to be toonified (--smallest-face), "
        "1 unlike those that the encoder knows (--far-codes)\n",
    )
