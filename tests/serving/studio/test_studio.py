"""The studio's HTTP interface on a real port, and ``toonify studio`` as a shell runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import aiohttp
import cv2
import numpy as np
import pytest
from fake_triton import FakeTriton
from fake_triton import running as running_triton
from studio_pages import MAX_UPLOAD, studio
from tiny_models import DEFAULT_BLEND, TinyModels
from toon_fakes import FakeToonifier, Pixels, room
from video_files import STEADY, write_video

from engines.contract.errors import ModelDirectoryError, RequestError, ServerError
from serving import cli
from serving.back_end import BackEnd
from serving.connection import Connection
from serving.controls import Style
from serving.faces.images import picture_from_bytes
from serving.faces.jpeg import jpeg_from_picture
from serving.studio import clips, routes
from serving.studio.access import PROOF
from serving.studio.catalogue import Catalogue, Choice, catalogue_of
from serving.toonifier import EngineToonifier
from serving.triton.server import TritonServer
from serving.video.reading import VideoReader

LIVE = Choice("live", "--r-swap 16", 32, (4, 8, 16, 32), DEFAULT_BLEND, ("transfer",), samples=True)
PHOTO = room()
JPEG = jpeg_from_picture(PHOTO)


class Browser:
    """Sends requests to a studio as a page would; an answer is its status, its headers and its bytes."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {PROOF[0]: PROOF[1], **headers})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, **controls: Any) -> tuple[int, bytes]:
        status, _, answer = self.ask("POST", f"{path}?controls={quote(json.dumps(controls))}", body)
        return status, answer

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        status, _, answer = self.ask(method, path, body, **headers)
        return status, json.loads(answer)

    def clip(self, body: Any, **controls: Any) -> str:
        status, answer = self.post("/api/clip", body, **controls)
        assert status == 202, answer
        return f"/api/clip/{json.loads(answer)['id']}"

    def wait(self, clip: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while (state := self.json("GET", clip)[1])["state"] not in states:
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return dict(state)

    def camera(self, *messages: bytes | dict[str, Any], answers: int = 0) -> list[Any]:
        """Return the answers to the messages, until the studio closes the stream or ``answers`` have come."""

        async def talk() -> list[Any]:
            received: list[Any] = []
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"ws://127.0.0.1:{self.port}/api/camera", headers=[PROOF]) as stream,
            ):
                for message in messages:
                    await (stream.send_bytes(message) if isinstance(message, bytes) else stream.send_json(message))
                while not answers or len(received) < answers:
                    answer = await stream.receive(timeout=30)
                    if answer.type is aiohttp.WSMsgType.CLOSE:
                        break
                    received.append(json.loads(answer.data) if isinstance(answer.data, str) else answer.data)
            return received

        return asyncio.run(talk())


@pytest.fixture
def toonifier() -> FakeToonifier:
    return FakeToonifier()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the studio keeps its temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


@pytest.fixture
def browser(toonifier: FakeToonifier, folder: Path) -> Iterator[Browser]:
    with studio(toonifier) as port:
        yield Browser(port)
    assert not [*folder.iterdir()]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 12 frames, each with a face."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", STEADY[:12]).read_bytes()


@pytest.fixture
def held(toonifier: FakeToonifier) -> Iterator[Callable[[], None]]:
    """Make the toonifier wait until the returned function is called."""
    go_on = Event()
    toonifier.before = lambda: go_on.wait(30)
    yield go_on.set
    go_on.set()


def clips_in(folder: Path) -> list[Path]:
    return [*folder.glob("toonify-studio-*/*")]


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def toon_levels(photo: Pixels) -> set[tuple[int, ...]]:
    """Return a picture's colours; those of the fake's pictures have no red beyond the mean and no blue."""
    return {tuple(colour) for colour in photo.reshape(-1, 3).tolist()}


def test_the_page_needs_nothing_from_elsewhere(browser: Browser) -> None:
    status, headers, page = browser.ask("GET", "/")
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    named = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert {Path(name).name for name in named} == {"studio.css", "studio.js", "icon.svg"}
    for name in [*named, *(f"/page/{module}.js" for module in ("page", "pictures", "streams"))]:
        status, _, content = browser.ask("GET", name)
        assert status == 200, name
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", content), name


def test_the_models_are_told(browser: Browser) -> None:
    fixed = {"resolution": 64, "resolutions": [], "shares": [], "transferred": []}
    assert browser.json("GET", "/api/models") == (
        200,
        {
            "models": [
                {"name": "blend_r16", "blend": "--r-swap 16", **fixed, "samples": True},
                {"name": "blend_r64", "blend": "--r-swap 64", **fixed, "samples": False},
            ],
            "attributes": ["age", "smile"],
            "keeps": True,
            "ranges": {},
            "max_upload": MAX_UPLOAD,
        },
    )


def test_a_picture_comes_back_with_its_face_toonified(browser: Browser) -> None:
    status, answer = browser.post("/api/picture", JPEG, seed=200)
    assert status == 200
    picture = picture_from_bytes(answer, "answer")
    assert answer.startswith(b"\x89PNG")
    assert picture.shape == PHOTO.shape
    np.testing.assert_array_equal(picture[0], picture_from_bytes(JPEG, "photo")[0])
    assert picture[120, 160].tolist()[1:] == [200, 0]


def test_a_random_face_is_drawn(browser: Browser, toonifier: FakeToonifier) -> None:
    status, answer = browser.post("/api/sample", None, face=77, seed=5)
    assert status == 200
    assert picture_from_bytes(answer, "answer")[0, 0].tolist() == [77, 5, 0]
    assert toonifier.calls == [("sample", 1), ("render", 1)]


def test_an_edit_of_a_random_face_keeps_what_its_picture_shows(browser: Browser, toonifier: FakeToonifier) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    assert browser.post("/api/sample", None, face=77, attributes={"age": 1})[0] == 200
    assert [call for call, _ in toonifier.calls] == ["sample", "render", "attributes", "render"]
    assert toonifier.shown[0] is None
    assert toonifier.shown[1] is not None
    np.testing.assert_array_equal(toonifier.shown[1], [[0.25, 1]])


def code_file(w: object) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, w=w)
    return buffer.getvalue()


def test_the_first_code_of_a_file_is_drawn_and_edited(browser: Browser, toonifier: FakeToonifier) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    codes = code_file(np.repeat(np.float32([0.2, 0.8]), 14 * 4).reshape(2, 14, 4))
    status, answer = browser.post("/api/codes", codes, seed=5, attributes={"age": 1})
    assert status == 200
    assert picture_from_bytes(answer, "answer")[0, 0].tolist() == [51, 5, 0]
    assert toonifier.calls == [("render", 1), ("attributes", 1), ("render", 1)]


def test_a_file_without_codes_is_refused_in_one_sentence(browser: Browser) -> None:
    status, answer = browser.post("/api/codes", code_file(np.array([None])))
    assert status == 422
    assert b"codes: got Python objects, which are not read, expected codes" in answer


@pytest.mark.parametrize("face", [-1, 2**63, "x"])
def test_a_face_of_no_seed_is_refused(browser: Browser, face: object) -> None:
    status, answer = browser.post("/api/sample", None, face=face)
    assert status == 422
    assert b"at face, expected a JSON object with" in answer


@pytest.mark.parametrize(("look", "photo"), [("paste", PHOTO), ("aligned", PHOTO[:, :240])])
def test_the_attributes_of_a_face_are_told(
    browser: Browser, toonifier: FakeToonifier, look: str, photo: Pixels
) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    status, answer = browser.post("/api/attributes", jpeg_from_picture(photo), look=look)
    assert (status, json.loads(answer)) == (200, {"age": 0.25, "smile": 1})


def test_without_a_classifier_no_attributes_are_told(browser: Browser) -> None:
    status, answer = browser.post("/api/attributes", JPEG)
    assert (status, json.loads(answer)) == (200, {})


@pytest.mark.parametrize(("look", "photo"), [("crop", PHOTO), ("aligned", PHOTO[:, :240])])
def test_a_picture_may_be_the_face_alone(browser: Browser, look: str, photo: Pixels) -> None:
    status, answer = browser.post("/api/picture", jpeg_from_picture(photo), look=look, seed=7)
    assert status == 200
    picture = picture_from_bytes(answer, "answer")
    assert picture.shape == (64, 64, 3)
    assert {green for _, green, _ in toon_levels(picture)} == {7}


def test_every_control_reaches_the_toonifier(
    browser: Browser, toonifier: FakeToonifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    styles: list[Style] = []
    toonify = toonifier.toonify

    def noted(faces: Pixels, style: Style) -> Pixels:
        styles.append(style)
        return toonify(faces, style)

    monkeypatch.setattr(toonifier, "toonify", noted)
    browser.post("/api/picture", JPEG)
    browser.post("/api/picture", JPEG, model="blend_r64", attributes={"age": 1}, seed=3, strength=0.5, psi=0.7)
    assert styles == [Style(model="blend_r16"), Style({"age": 1}, 3, 0.5, psi=0.7, model="blend_r64")]


@pytest.mark.parametrize(
    ("body", "controls", "sentence"),
    [
        (b"no picture", {}, "picture: got a text, expected a PNG, JPEG or WebP picture"),
        (
            jpeg_from_picture(PHOTO[:, :100]),
            {},
            "picture: got no face, expected at least one that looks towards the camera",
        ),
        (JPEG, {"look": "aligned"}, "picture: got 320x240 pixels"),
        (
            JPEG,
            {"seed": -1},
            "controls: got Input should be greater than or equal to 0 at seed, expected a JSON object",
        ),
        (JPEG, {"strength": "much"}, "controls: got Input should be a valid number"),
        (JPEG, {"colour": "red"}, "controls: got Extra inputs are not permitted at colour"),
    ],
)
def test_what_cannot_be_answered_gets_one_sentence(
    browser: Browser, body: bytes, controls: dict[str, Any], sentence: str
) -> None:
    status, answer = browser.post("/api/picture", body, **controls)
    assert status == 422
    assert json.loads(answer)["error"].startswith(sentence)


def test_controls_that_are_no_json_are_refused(browser: Browser) -> None:
    status, answer = browser.json("POST", "/api/picture?controls={", JPEG)
    assert status == 422
    assert answer["error"].startswith("controls: got Invalid JSON")


def test_a_back_end_that_fails_is_told_of_as_such(browser: Browser, toonifier: FakeToonifier) -> None:
    def fail() -> None:
        raise ServerError("server", got="no answer", expected="one", remedy="start it")

    toonifier.before = fail
    assert browser.json("POST", "/api/picture", JPEG) == (
        502,
        {"error": "server: got no answer, expected one; start it."},
    )


@pytest.mark.parametrize("path", ["/api/picture", "/api/clip"])
@pytest.mark.parametrize("told", [True, False], ids=["its length is told", "it comes in chunks"])
def test_an_upload_that_is_too_large_is_refused(browser: Browser, folder: Path, path: str, told: bool) -> None:
    data = bytes(MAX_UPLOAD + 1)
    status, answer = browser.json("POST", path, data if told else iter([data]))
    assert status == 413
    assert answer["error"].startswith("upload: got more than 1 MiB, expected at most that size; send a smaller file")
    assert eventually(lambda: not clips_in(folder))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "localhost:1", "Origin": "http://localhost:2"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/models", "/api/camera"])
def test_pages_of_other_sites_are_refused(browser: Browser, path: str, headers: dict[str, str]) -> None:
    status, answer = browser.json("GET", path, **headers)
    assert status == 403
    assert answer["error"].startswith("toonify studio: got a request ")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080"])
def test_its_own_page_may_ask_by_any_name_of_this_machine(browser: Browser, host: str) -> None:
    assert browser.json("GET", "/api/models", Host=host, Origin=f"http://{host}")[0] == 200


def test_a_picture_that_takes_long_lets_others_be_asked_for(browser: Browser, held: Callable[[], None]) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as connection:
        head = "POST /api/picture HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost"
        connection.sendall(f"{head}\r\nContent-Length: {len(JPEG)}\r\n\r\n".encode() + JPEG)
        assert browser.json("GET", "/api/models")[0] == 200
        held()
        assert connection.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(("look", "size"), [("paste", (96, 64)), ("crop", (512, 512))])
def test_a_clip_becomes_a_clip(browser: Browser, clip: bytes, tmp_path: Path, look: str, size: tuple[int, int]) -> None:
    path = browser.clip(clip, look=look, seed=9)
    state = browser.wait(path, "done")
    expected = {"state": "done", "frames": 12, "total": 12, "remaining": 0, "error": None, "ahead": 0}
    assert state == {**expected, "fps": state["fps"]}
    status, headers, answer = browser.ask("GET", f"{path}/result")
    assert (status, headers["Content-Type"]) == (200, "video/mp4")
    (tmp_path / "toon.mp4").write_bytes(answer)
    with VideoReader(tmp_path / "toon.mp4") as reader:
        assert reader.size == size
        assert len([*reader]) == 12
    assert browser.ask("GET", f"{path}/result", Range="bytes=0-3")[2] == answer[:4]


def test_a_clip_that_is_removed_is_gone(browser: Browser, clip: bytes, folder: Path) -> None:
    path = browser.clip(clip)
    browser.wait(path, "done")
    assert browser.ask("DELETE", path)[0] == 200
    assert eventually(lambda: not clips_in(folder))
    for method in ("GET", "DELETE"):
        status, answer = browser.json(method, path)
        assert status == 404
        assert answer["error"].startswith("clip: got an id that is unknown or removed")


def test_a_clip_that_is_removed_ends_and_lets_the_next_one_begin(
    browser: Browser, clip: bytes, folder: Path, toonifier: FakeToonifier, held: Callable[[], None]
) -> None:
    path, following = browser.clip(clip), browser.clip(clip)
    browser.wait(path, "running")
    assert browser.json("GET", following)[1]["state"] == "waiting"
    status, answer = browser.json("GET", f"{path}/result")
    assert (status, answer["error"]) == (
        409,
        "clip: got a clip that is running, expected a clip that is done; try again later.",
    )
    assert browser.ask("DELETE", path)[0] == 200
    held()
    browser.wait(following, "done")
    assert [entry.name for entry in clips_in(folder)] == [following.rpartition("/")[2]]


def test_a_clip_that_is_none_fails_with_a_sentence(browser: Browser) -> None:
    state = browser.wait(browser.clip(b"no video"), "failed")
    assert state["error"].startswith("clip: got ")
    assert "expected a video" in state["error"]


def test_a_fault_fails_the_clip_and_is_logged(
    browser: Browser, clip: bytes, toonifier: FakeToonifier, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    toonifier.before = fail
    assert "got an unexpected error" in browser.wait(browser.clip(clip), "failed")["error"]
    assert "ZeroDivisionError" in caplog.text


def test_a_clip_whose_sender_goes_away_leaves_nothing(browser: Browser, folder: Path) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as connection:
        head = b"POST /api/clip HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 1000"
        connection.sendall(head + b"\r\n\r\nhalf")
        assert eventually(lambda: bool(clips_in(folder)))
    assert eventually(lambda: not clips_in(folder))


def test_the_oldest_clips_make_room(browser: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MAX_FINISHED_CLIPS", 2)
    paths = []
    for _ in range(4):
        paths.append(browser.clip(b"no video"))
        browser.wait(paths[-1], "failed")
    assert [browser.json("GET", path)[0] for path in paths] == [404, 404, 200, 200]
    assert eventually(lambda: len(clips_in(folder)) == 2)


def test_a_camera_gets_its_frames_back_in_order(browser: Browser) -> None:
    frames = [jpeg_from_picture(room(level)) for level in (60, 120, 180)]
    answers = browser.camera({"seed": 50}, *frames[:2], {"seed": 90}, frames[2], answers=6)
    assert answers[::2] == [{"faces": 1}] * 3
    pictures = [picture_from_bytes(answer, "answer") for answer in answers[1::2]]
    assert [picture.shape for picture in pictures] == [PHOTO.shape] * 3
    assert [round(picture[120, 160, 1] / 10) for picture in pictures] == [5, 5, 9]
    assert sorted(picture[0].mean() for picture in pictures) == [picture[0].mean() for picture in pictures]


def test_a_camera_may_change_what_it_shows(browser: Browser) -> None:
    answers = browser.camera(JPEG, {"look": "crop"}, JPEG, answers=4)
    assert [picture_from_bytes(answer, "answer").shape for answer in answers[1::2]] == [PHOTO.shape, (512, 512, 3)]


def test_a_frame_without_a_face_comes_back_as_it_is(browser: Browser) -> None:
    frame = jpeg_from_picture(PHOTO[:, :100])
    assert browser.camera(frame, answers=2) == [{"faces": 0}, jpeg_from_picture(picture_from_bytes(frame, "frame"))]


@pytest.mark.parametrize("message", [b"no picture", {"seed": -1}])
def test_a_camera_ends_with_a_sentence(browser: Browser, message: bytes | dict[str, Any]) -> None:
    (answer,) = browser.camera(message)
    assert re.match("(frame|controls): got ", answer["error"])


def test_a_camera_that_sends_nothing_is_let_go(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "IDLE_SECONDS", 0.1)
    assert browser.camera() == [{"error": "webcam: no frame came for 0.1 seconds; start it again."}]


def test_the_end_of_the_studio_ends_all_that_goes_on(toonifier: FakeToonifier, folder: Path, clip: bytes) -> None:
    async def last_message(port: int) -> aiohttp.WSMessage:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}/api/camera", headers=[PROOF]) as stream,
        ):
            await asyncio.to_thread(context.__exit__, None, None, None)
            return await stream.receive(timeout=10)

    toonifier.before = lambda: time.sleep(0.2)
    context = studio(toonifier)
    port = context.__enter__()
    Browser(port).wait(Browser(port).clip(clip), "running")
    assert asyncio.run(last_message(port)).data == aiohttp.WSCloseCode.GOING_AWAY
    assert not [*folder.iterdir()]


def test_the_catalogue_of_model_directories(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    models = tiny_model_directories
    names = {"plain": 32, "inverse": 32, "small": 16}
    plain, inverse, small = (Choice(name, "--r-swap 16", side, samples=name != "small") for name, side in names.items())
    generators = [*models.generators.values()]
    catalogue = catalogue_of(
        BackEnd(
            encoder=models.encoder,
            generators=[*generators, models.live],
            isf=models.isf,
            classifier=models.classifier,
        )
    )
    assert catalogue == Catalogue((plain, inverse, small, LIVE), ("age", "smile"), keeps=True)
    catalogue = catalogue_of(BackEnd(encoder=models.encoder, generators=generators, model="inverse"))
    assert catalogue == Catalogue((inverse, plain, small), ())
    with pytest.raises(
        RequestError, match="model 'other': got no generator of that name, expected one of plain, inverse, small"
    ):
        catalogue_of(BackEnd(encoder=models.encoder, generators=generators, model="other"))
    with pytest.raises(ModelDirectoryError, match="got no such directory"):
        catalogue_of(BackEnd(encoder=models.encoder, generators=[tmp_path / "none"]))


def test_the_catalogue_of_a_server() -> None:
    with running_triton(FakeTriton()) as server:
        attributes = ("gender", "glasses", "age", "expression")
        assert catalogue_of(BackEnd(Connection((server.url,)))) == Catalogue((Choice(None, "", 512),), attributes)


@pytest.mark.triton
def test_the_catalogue_of_a_real_server(triton_server: TritonServer) -> None:
    names = {"plain": 32, "inverse": 32, "small": 16}
    plain, inverse, small = (Choice(name, "--r-swap 16", side, samples=name != "small") for name, side in names.items())
    assert catalogue_of(BackEnd(Connection((triton_server.url,)))) == Catalogue(
        (plain, inverse, LIVE, small), ("age", "smile"), keeps=True
    )
    catalogue = catalogue_of(BackEnd(Connection((triton_server.url,)), model="toonify_inverse"))
    assert catalogue == Catalogue((inverse, LIVE, plain, small), ("age", "smile"), keeps=True)


def test_the_command_serves_models_of_this_process_until_it_is_interrupted(
    tiny_model_directories: TinyModels, folder: Path
) -> None:
    models = tiny_model_directories
    command = [f"{sysconfig.get_path('scripts')}/toonify", "studio", "--port", "0"]
    options: list[str | Path] = ["--encoder", models.encoder, "--isf", models.isf]
    options += ["--classifier", models.classifier, "--generator", models.generators["plain"]]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env=environment)
    with process:
        assert process.stderr
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stderr.readline()
            assert line, printed
            printed += line
        match = re.search(r"http://127\.0\.0\.1:(\d+)/", printed)
        assert match, printed
        face = cv2.resize(PHOTO, (256, 256)).astype(np.uint8)
        status, answer = Browser(int(match[1])).post(
            "/api/picture", cv2.imencode(".png", face[..., ::-1])[1].tobytes(), look="aligned", attributes={"age": 1}
        )
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert (process.returncode, rest) == (0, "")
    assert not [*folder.glob("toonify-studio-*")]
    generators = [models.generators["plain"]]
    with EngineToonifier(models.encoder, generators, models.isf, classifier=models.classifier) as toonifier:
        (expected,) = toonifier.toonify(face[None], Style({"age": 1}))
    assert status == 200
    np.testing.assert_array_equal(picture_from_bytes(answer, "answer"), expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--align", "prealigned"], "landmarks: got 'prealigned'"),
        (["--align", "yunet:absent.onnx"], "absent.onnx: got no such file"),
        (["--encoder", "absent"], "models: got only some of the model directories"),
        (["--encoder", "absent", "--generator", "none"], "none: got no such directory, expected a model directory"),
        (["--url", "127.0.0.1:1", "--timeout", "1"], "server at 127.0.0.1:1: got UNAVAILABLE: "),
        (["--address", "192.0.2.1"], "toonify studio at 192.0.2.1: got an address that other machines can reach, and"),
        (["--address", "192.0.2.1", "--token-file", __file__], f"{__file__}: got a token that is too short, or no li"),
        (["--token-file", "absent"], "absent: got No such file or directory, expected a file that holds the studio's"),
    ],
)
def test_a_command_that_cannot_work_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    monkeypatch.setattr("sys.argv", ["toonify", "studio", "--port", "0", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert f"error: {sentence}" in capsys.readouterr().err


def test_landmarks_by_file_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["toonify", "studio", "--align", "file:points.json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "have no file names to look landmarks up" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_without_aiohttp_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['aiohttp'] = None; from serving.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "studio"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: toonify studio: got no such library, expected the package aiohttp; "
        "install it with: pip install 'toonify-serve[studio]'.\n"
    )
