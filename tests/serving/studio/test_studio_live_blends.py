"""The studio's HTTP interface for live models: faces that are encoded once, and the sheet of every r_swap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from studio_pages import LIVE_CATALOGUE, studio
from toon_fakes import FakeToonifier, room

from serving.controls import Style
from serving.faces.images import picture_from_bytes
from serving.faces.jpeg import jpeg_from_picture
from serving.studio.access import PROOF
from serving.studio.encoded_faces import PREVIEW_SIDE
from serving.studio.kept_faces import MAX_FACES

PHOTO = room()
JPEG = jpeg_from_picture(PHOTO)
BLEND = [1, 1, 0.5, 0, 0]


class Page:
    """Sends requests to a studio as a page would."""

    def __init__(self, port: int) -> None:
        self.port = port

    def post(self, path: str, body: bytes = b"", **controls: Any) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            query = quote(json.dumps({"model": "live", **controls}))
            connection.request("POST", f"{path}?controls={query}", body, dict([PROOF]))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def encode(self, body: bytes = JPEG, **controls: Any) -> str:
        status, answer = self.post("/api/face", body, **controls)
        assert status == 201, answer
        return f"/api/face/{json.loads(answer)['id']}"


@pytest.fixture
def toonifier() -> FakeToonifier:
    return FakeToonifier()


@pytest.fixture
def page(toonifier: FakeToonifier) -> Iterator[Page]:
    with studio(toonifier, LIVE_CATALOGUE) as port:
        yield Page(port)


def test_faces_are_encoded_once_and_only_rendered_for_each_blend(page: Page, toonifier: FakeToonifier) -> None:
    face = page.encode()
    for blend in (BLEND, [1, 1, 1, 0, 0], [0] * 5):
        status, answer = page.post(face, blend=blend)
        assert status == 200
        picture = picture_from_bytes(answer, "answer")
        assert picture.shape == PHOTO.shape
        assert abs(int(picture[120, 160, 2]) - 20 * sum(blend)) < 8
    assert toonifier.calls == [("encode", 1), ("render", 1), ("render", 1), ("render", 1)]
    assert toonifier.rendered[0] == Style(model="live", blend=tuple(BLEND))


@pytest.mark.parametrize(("look", "side"), [("crop", 240), ("aligned", 240)])
def test_a_face_alone_is_shown_in_the_models_size(page: Page, look: str, side: int) -> None:
    photo = PHOTO if look == "crop" else PHOTO[:, :side]
    face = page.encode(jpeg_from_picture(photo), look=look)
    _, answer = page.post(face, blend=BLEND, look=look)
    assert picture_from_bytes(answer, "answer").shape == (64, 64, 3)


def test_a_large_photograph_is_reduced_and_its_face_stays_in_its_place(page: Page) -> None:
    photo = np.full((2400, 3200, 3), 120, np.uint8)
    _, answer = page.post(page.encode(jpeg_from_picture(photo)), seed=200)
    picture = picture_from_bytes(answer, "answer")
    assert picture.shape == (960, PREVIEW_SIDE, 3)
    green = picture[..., 1] > 190
    assert np.abs(np.argwhere(green).mean(0) - [480, 640]).max() < 60
    assert green[480, 640]


def test_an_edit_reads_the_face_once_too(page: Page, toonifier: FakeToonifier) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    face = page.encode()
    for smile in (0, 1):
        assert page.post(face, blend=BLEND, attributes={"smile": smile})[0] == 200
    assert [name for name, _ in toonifier.calls] == ["encode", "attributes", "render", "render"]
    assert all(shown is not None and shown.tolist() == [[0.25, 1]] for shown in toonifier.shown)


def test_the_last_pictures_faces_are_kept(page: Page) -> None:
    first = page.encode()
    second = page.encode()
    assert page.post(first)[0] == 200
    for _ in range(MAX_FACES - 1):
        page.encode()
    assert page.post(first)[0] == 200
    status, answer = page.post(second)
    assert status == 404
    assert "faces: got an id that is unknown or was given up" in json.loads(answer)["error"]


def test_a_picture_without_a_face_and_an_impossible_blend_are_refused(page: Page) -> None:
    status, answer = page.post("/api/face", jpeg_from_picture(room(width=100)))
    assert status == 422
    assert "got no face" in json.loads(answer)["error"]
    status, answer = page.post(page.encode(), blend=[0.5] * 17)
    assert status == 422
    assert json.loads(answer)["error"].startswith("controls: got ")


def test_a_sheet_shows_the_face_and_every_r_swap(page: Page, toonifier: FakeToonifier) -> None:
    status, answer = page.post("/api/sheet", JPEG, seed=7)
    assert status == 200
    assert toonifier.calls == [("encode", 1), *[("render", 1)] * 6]
    assert toonifier.rendered == [Style(seed=7, model="live", r_swap=r_swap) for r_swap in (2, 4, 8, 16, 32, 64)]
    sheet = picture_from_bytes(answer, "answer")
    assert answer.startswith(b"\x89PNG")
    blues = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist() if colour[1] == 7}
    assert {colour[2] for colour in blues} >= {0, 20, 40, 60, 80, 100}


def test_one_of_several_transferred_models_is_rendered(page: Page, toonifier: FakeToonifier) -> None:
    assert page.post(page.encode(), model="duo", blend=BLEND, transfer="anime")[0] == 200
    assert page.post("/api/sheet", JPEG, model="duo", transfer="anime")[0] == 200
    assert toonifier.rendered[0] == Style(model="duo", blend=tuple(BLEND), transfer="anime")
    assert {style.transfer for style in toonifier.rendered} == {"anime"}


def test_a_sheet_of_a_model_that_is_not_live_is_refused(page: Page, toonifier: FakeToonifier) -> None:
    status, answer = page.post("/api/sheet", JPEG, model="blend_r16")
    assert status == 422
    assert "model 'blend_r16': got a model whose blend is fixed, expected a live model" in json.loads(answer)["error"]
    assert not toonifier.calls
