"""Requests to the studio as bytes on its port: none reaches it from another page, fails it, or stays in it."""

from __future__ import annotations

import json
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from fuzzer import Check, Fuzzer
from studio_pages import LIVE_CATALOGUE, studio
from toon_fakes import FakeToonifier, room

from serving.faces.images import bytes_from_picture
from tests.fuzzing import pictures

Source = random.Random

OWN_HOSTS = ("localhost", "127.0.0.1:8080", "[::1]")
OTHER_HOSTS = ("evil.example", "evil.example@127.0.0.1", "localhost.evil", "evil@[::1]", "localhost:80@evil")
OTHER_ORIGINS = ("http://evil.example", "evil://localhost", "http://evil@localhost", "http://localhost.evil:8080")
ROUTES = (
    ("GET", "/"),
    ("GET", "/api/models"),
    ("POST", "/api/picture"),
    ("POST", "/api/picture"),
    ("POST", "/api/face"),
    ("POST", "/api/face/x"),
    ("POST", "/api/sheet"),
    ("POST", "/api/sample"),
    ("GET", "/api/camera"),
    ("POST", "/api/clip"),
    ("GET", "/api/clip/x"),
    ("DELETE", "/api/clip/x"),
)
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT")
PATHS = (
    "/",
    "/page/studio.js",
    "/page/../web.py",
    "/page/%2e%2e/web.py",
    "/page//etc/passwd",
    "/page/%00",
    "/api/models",
    "/api/picture",
    "/api/camera",
    "/api/clip",
    "/api/clip/x",
    "/api/clip/..%2f..%2fetc%2fpasswd/result",
    "/nothing",
    "http://evil.example/api/models",
    "*",
)
CONTROLS = (
    {},
    {"look": "aligned"},
    {"look": "crop", "seed": 5},
    {"seed": 2**63},
    {"face": 2**63},
    {"psi": 1e308},
    {"model": "live", "blend": [1, 0.5, 0, 0, 0]},
    {"model": "live", "blend": [1e308] * 17},
    {"model": "../../x"},
    {"attributes": {"age": 1, "x": 2}},
    [[[]]],
    None,
)
WEB_SOCKET = "\r\n".join(
    ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'A' * 22}==")
)
PHOTO = bytes_from_picture(room(), ".png")
END_OF_HEAD = b"\r\n\r\n"


def make(source: Source) -> bytes:
    """A request with up to two headers of each kind, and sometimes with changed bytes."""
    body = source.choice((b"", b"x" * source.randrange(2000), PHOTO, PHOTO, pictures.make(source)))
    if source.random() < 0.6:
        method, path = source.choice(ROUTES)
    else:
        method, path = source.choice(METHODS), source.choice(PATHS)
    lines = [f"{method} {path}{query(source)} HTTP/1.1"]
    lines += [f"Host: {host}" for host in some(source, OWN_HOSTS, OTHER_HOSTS)]
    own = lines[1][6:] if len(lines) > 1 else "localhost"
    lines += [f"Origin: {origin}" for origin in some(source, [f"http://{own}"], OTHER_ORIGINS)]
    optional = {
        "X-Requested-With: toonify-studio": 0.5,
        "Connection: close": 0.9,
        WEB_SOCKET: 0.2,
        "Sec-Fetch-Site: same-origin": 0.2,
        "Content-Encoding: gzip": 0.05,
        "Expect: 100-continue": 0.05,
        "Range: bytes=0-3": 0.05,
    }  # fmt: skip
    lines += [line for line, chance in optional.items() if source.random() < chance]
    lines += [f"Content-Length: {len(body) + source.choice((*[0] * 12, -1, 1, 2**40))}"] * (source.random() < 0.9)
    lines += ["Transfer-Encoding: chunked"] * (source.random() < 0.05)
    request = "\r\n".join(lines).encode() + END_OF_HEAD + body
    return pictures.changed_bytes(source, request) if source.random() < 0.1 else request


def query(source: Source) -> str:
    """Controls, often none, sometimes cut."""
    controls = json.dumps(source.choice(CONTROLS))
    if source.random() < 0.2:
        controls = controls[: source.randrange(len(controls))]
    return f"?controls={quote(controls)}" if source.random() < 0.5 else ""


def some(source: Source, good: tuple[str, ...] | list[str], bad: tuple[str, ...]) -> list[str]:
    """Usually a good value, sometimes none, a bad one, or two."""
    count = source.choice((0, *[1] * 12, 2))
    return [source.choice(good) if source.random() < 0.9 else source.choice(bad) for _ in range(count)]


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check sends its input to a studio in this process, and looks at the answer; at the end nothing is left."""
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        with pictures.quiet(), studio(FakeToonifier(), LIVE_CATALOGUE) as port:
            yield lambda content: check_answer(content, answer(port, content))
            models = b"GET /api/models HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: toonify-studio\r\n\r\n"
            assert answer(port, models).startswith(b"HTTP/1.1 200")
        assert not [*folder.iterdir()]
    finally:
        tempfile.tempdir = before


def answer(port: int, request: bytes) -> bytes:
    """Send the request and return what comes within a second; a request that is not whole gets no answer."""
    received, end = b"", time.monotonic() + 1
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(0.3)
            while time.monotonic() < end and (more := connection.recv(2**16)):
                received += more
        except (TimeoutError, ConnectionError):
            pass
    return received


def check_answer(request: bytes, received: bytes) -> None:
    """Check the status, that no path or traceback is told, and that what names another site gets no answer."""
    status = int(received[9:12]) if received.startswith((b"HTTP/1.0 ", b"HTTP/1.1 ")) else 0
    assert status or not received
    assert status < 500 or status == 503, received[:300]
    head = received[:2000] + received[-2000:]
    assert not [secret for secret in (b"Traceback", b'File "', b"root:", bytes(Path.cwd())) if secret in head]
    lines = request.partition(END_OF_HEAD)[0].lower().split(b"\r\n")[1:]
    foreign = any(b"evil" in line for line in lines if line.startswith((b"host:", b"origin:")))
    assert not foreign or status not in range(101, 300), received[:300]


FUZZER = Fuzzer("studio", make, checking, short=150)
