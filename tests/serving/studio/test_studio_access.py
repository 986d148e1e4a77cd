"""Who may use the studio: requests that other sites' pages could send, and those of its own page."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from studio_pages import studio
from toon_fakes import FakeToonifier

HOST = "127.0.0.1:8080"
OWN = f"http://{HOST}"
PROOF = ("X-Requested-With", "toonify-studio")
LINK = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]

Headers = list[tuple[str, str]]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with studio(FakeToonifier()) as port:
        yield port


def status(port: int, target: str, headers: Headers, method: str = "GET") -> int:
    """Send a request with exactly these headers and return the status of the answer."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example@127.0.0.1",
        f"evil.example@{HOST}",
        "127.0.0.1@evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1 evil.example",
        "127.0.0.1/evil.example",
        "127.0.0.1:80:80",
        "127.0.0.1:x",
        "localhost.",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "[::1",
        "[::1]x",
        "",
    ],
)
@pytest.mark.parametrize("target", ["/", "/api/models", "/page/studio.js"])
def test_only_the_studios_own_names_are_hosts(port: int, target: str, host: str) -> None:
    assert status(port, target, [("Host", host), PROOF]) in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", HOST, "[::1]", "[::1]:8080"])
def test_the_page_may_be_reached_by_any_name_of_this_machine(port: int, host: str) -> None:
    assert status(port, "/api/models", [("Host", host), ("Origin", f"http://{host}")]) == 200
    assert status(port, "/api/models", [("Host", host), ("Origin", f"https://{host}")]) == 200


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/", [("Host", HOST), ("Host", "evil.example")]),
        ("/", [("Host", "evil.example"), ("Host", HOST)]),
        ("/", [("Host", HOST), ("Host", HOST)]),
        ("/", []),
        ("http://evil.example/api/models", [("Host", HOST), PROOF]),
        *[
            ("/api/models", [("Host", HOST), *origins, PROOF])
            for origins in (
                [("Origin", "http://evil.example")],
                [("Origin", "null")],
                [("Origin", "")],
                [("Origin", f"evil://{HOST}")],
                [("Origin", "http://127.0.0.1:9")],
                [("Origin", f"{OWN}.evil.example")],
                [("Origin", f"{OWN}/")],
                [("Origin", OWN), ("Origin", "http://evil.example")],
                [("Origin", "http://evil.example"), ("Origin", OWN)],
                [("Sec-Fetch-Site", "cross-site")],
                [("Sec-Fetch-Site", "same-site")],
                [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
            )
        ],
        ("/api/models", [("Host", HOST), *LINK]),
        ("/page/icon.svg", [("Host", HOST), ("Sec-Fetch-Site", "cross-site")]),
        ("/", [("Host", HOST), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "iframe")]),
        ("/api/clip/unknown/result", [("Host", HOST), ("Sec-Fetch-Site", "cross-site")]),
    ],
)
def test_what_another_page_could_send_is_refused(port: int, target: str, headers: Headers) -> None:
    assert status(port, target, headers) in (400, 403)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/models"),
        ("GET", "/%61pi/models"),
        ("GET", "/api/camera"),
        ("HEAD", "/api/models"),
        ("POST", "/api/picture"),
        ("POST", "/api/clip"),
    ],
)
@pytest.mark.parametrize("headers", [[], [("Sec-Fetch-Site", "none")], [("X-Requested-With", "XMLHttpRequest")]])
def test_a_request_without_a_sign_of_its_sender_is_refused(
    port: int, method: str, target: str, headers: Headers
) -> None:
    assert status(port, target, [("Host", HOST), *headers], method) == 403


@pytest.mark.parametrize(
    ("target", "headers", "expected"),
    [
        ("/", [], 200),
        ("/", [("Sec-Fetch-Site", "none")], 200),
        ("/", LINK, 200),
        ("/page/studio.js", [], 200),
        ("/page/studio.js", [("Sec-Fetch-Site", "same-origin")], 200),
        ("/api/models", [("Sec-Fetch-Site", "same-origin")], 200),
        ("/api/models", [("Origin", OWN)], 200),
        ("/api/models", [PROOF], 200),
        ("/api/clip/unknown/result", [], 404),
    ],
)
def test_what_the_page_itself_sends_is_answered(port: int, target: str, headers: Headers, expected: int) -> None:
    assert status(port, target, [("Host", HOST), *headers]) == expected
