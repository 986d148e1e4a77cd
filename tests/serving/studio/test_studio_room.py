"""What the studio keeps is bounded, and all work in it can be ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

import pytest
from studio_pages import studio
from toon_fakes import FakeToonifier, room
from video_files import STEADY, write_video

from serving.faces.jpeg import jpeg_from_picture
from serving.studio import routes, uploads
from serving.studio.access import PROOF
from serving.studio.refusal import Refusal, Room

JPEG = jpeg_from_picture(room())
HEAD = f"HTTP/1.1\r\nHost: localhost\r\n{': '.join(PROOF)}\r\nContent-Length: "

SERVED = """
import socket, sys, time
sys.path.insert(0, sys.argv[1])
from studio_pages import CATALOGUE, one_face
from toon_fakes import FakeToonifier
from serving.studio.studio import Studio
from serving.studio.web import application, run

toonifier = FakeToonifier()
toonifier.before = lambda: (print("busy", flush=True), time.sleep(300))
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
run(application(Studio(toonifier, one_face), CATALOGUE), listener)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def toonifier() -> FakeToonifier:
    return FakeToonifier()


@pytest.fixture
def held(toonifier: FakeToonifier) -> Iterator[Event]:
    """An event that lets the toonifier go on; until then it waits."""
    go_on = Event()
    toonifier.before = lambda: go_on.wait(60)
    yield go_on
    go_on.set()


@pytest.fixture
def port(toonifier: FakeToonifier, folder: Path) -> Iterator[int]:
    with studio(toonifier) as port:
        yield port
    assert not [*folder.iterdir()]


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict([PROOF]))
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if answer.headers["Content-Type"].startswith("application/json") else {}
    finally:
        connection.close()


def unfinished(port: int, path: str, told: int, sent: bytes) -> socket.socket:
    """Begin an upload and return its connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(f"POST {path} {HEAD}{told}\r\n\r\n".encode() + sent)
    return connection


def eventually(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


def test_a_room_counts_things_and_bytes_until_they_leave() -> None:
    room = Room("clips", 2, 2**20)
    first, second = room.enter(), room.enter()
    with pytest.raises(Refusal, match="got more work than it has room for, expected 2 clips at a time"):
        room.enter()
    first.grow(2**20)
    with pytest.raises(Refusal, match="expected 1 MiB of clips; try again when some are done"):
        second.grow(1)
    first.leave()
    first.leave()
    second.grow(2**20)
    room.enter()


@pytest.mark.parametrize(("path", "most"), [("/api/picture", routes.MAX_PICTURES), ("/api/clip", 8)])
def test_unfinished_uploads_count(port: int, path: str, most: int) -> None:
    with ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(unfinished(port, path, 1000, b"half"))
        assert eventually(lambda: ask(port, "POST", path, b"x")[0] == 503)
        status, answer = ask(port, "POST", path, b"x")
        assert (status, str(answer["error"])[:53]) == (503, "toonify studio: got more work than it has room for, e")
    assert eventually(lambda: ask(port, "POST", path, b"x")[0] != 503)


def test_bytes_of_unfinished_uploads_count_together(port: int) -> None:
    """The helper's studio takes clips of 1 MiB, and keeps 2 MiB of them."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(unfinished(port, "/api/clip", 2**20, bytes(2**20 - 10)))
        assert eventually(lambda: ask(port, "POST", "/api/clip", bytes(2**20))[0] == 503)


def test_an_upload_that_sends_nothing_more_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.2)
    with unfinished(port, "/api/picture", 1000, b"half") as connection:
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", ["/api/picture", "/api/clip"])
def test_compressed_uploads_are_refused(port: int, path: str) -> None:
    request = f"POST {path} {HEAD}4\r\nContent-Encoding: gzip\r\n\r\nnone"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        assert connection.recv(12) == b"HTTP/1.1 415"


def test_waiting_clips_are_bounded_and_know_their_place(port: int, held: Event, folder: Path) -> None:
    clip = write_video(folder / "clip.mp4", STEADY[:6])
    content = clip.read_bytes()
    clip.unlink()
    answers = [ask(port, "POST", "/api/clip", content) for _ in range(9)]
    assert [status for status, _ in answers] == [202] * 8 + [503]
    paths = [f"/api/clip/{answer['id']}" for _, answer in answers[:8]]
    assert [ask(port, "GET", path)[1]["ahead"] for path in paths] == [*range(8)]
    assert ask(port, "DELETE", paths[3])[0] == 200
    assert ask(port, "GET", paths[7])[1]["ahead"] == 6
    assert ask(port, "POST", "/api/clip", content)[0] == 202
    held.set()
    assert eventually(lambda: ask(port, "GET", paths[7])[1]["state"] == "done")
    assert eventually(lambda: not [*folder.glob("*/*/clip")])


def test_a_waiting_clip_that_is_removed_frees_its_files_at_once(port: int, held: Event, folder: Path) -> None:
    content = write_video(folder / "clip.mp4", STEADY[:6]).read_bytes()
    (folder / "clip.mp4").unlink()
    running, waiting = (ask(port, "POST", "/api/clip", content)[1]["id"] for _ in range(2))
    assert eventually(lambda: ask(port, "GET", f"/api/clip/{running}")[1]["state"] == "running")
    ask(port, "DELETE", f"/api/clip/{waiting}")
    assert [path.name for path in folder.glob("*/*")] == [running]


def test_a_picture_that_nobody_waits_for_is_not_toonified(port: int, toonifier: FakeToonifier, held: Event) -> None:
    begun: list[bool] = []
    toonifier.before = lambda: (begun.append(True), held.wait(60))
    with ExitStack() as stack:
        for _ in range(routes.MAX_RUNNING_PICTURES):
            stack.enter_context(unfinished(port, "/api/picture", len(JPEG), JPEG))
        assert eventually(lambda: len(begun) == routes.MAX_RUNNING_PICTURES)
        with unfinished(port, "/api/picture", len(JPEG), JPEG):
            time.sleep(0.5)  # until it waits for its turn
    time.sleep(1)  # until the studio has noticed that nobody waits
    held.set()
    assert ask(port, "POST", "/api/picture", JPEG)[0] == 200
    assert len(begun) == routes.MAX_RUNNING_PICTURES + 1


def test_webcams_are_bounded(port: int) -> None:
    upgrade = (
        f"GET /api/camera {HEAD}0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with ExitStack() as stack:
        streams = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(routes.MAX_WEBCAMS + 1)
        ]
        for stream in streams:
            stream.sendall(upgrade.encode())
            assert stream.recv(12) == b"HTTP/1.1 101"
            time.sleep(0.05)
        received = b""
        while b"expected 8 webcams at a time" not in received:
            received += (more := streams[-1].recv(4096))
            assert more, received


@pytest.mark.parametrize("path", ["/api/picture", "/api/clip"])
def test_the_command_ends_in_the_middle_of_work_that_cannot_be_interrupted(tmp_path: Path, path: str) -> None:
    content = write_video(tmp_path / "clip.mp4", STEADY[:6]).read_bytes() if path == "/api/clip" else JPEG
    (tmp_path / "temporary").mkdir()
    helpers = str(Path(__file__).parents[2] / "helpers")
    environment = {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", SERVED, helpers]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        with unfinished(port, path, len(content), content):
            assert process.stdout.readline() == "busy\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0  # after 3 s; the work itself takes 300 s
    assert not [*(tmp_path / "temporary").iterdir()]
