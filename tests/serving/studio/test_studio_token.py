"""The studio's token: who is answered without it, with it, and with a wrong one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import pytest
from studio_pages import studio
from toon_fakes import FakeToonifier

from engines.contract.errors import RequestError
from serving.studio.access import PROOF
from serving.studio.token import TOKEN_VARIABLE, token_for

TOKEN = "a-token-of-a-test"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with studio(FakeToonifier(), token=TOKEN) as port:
        yield port


def ask(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={PROOF[0]: PROOF[1], **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode(errors="replace")
    finally:
        connection.close()


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'anybody:{password}'.encode()).decode()}"


@pytest.mark.parametrize("path", ["/", "/api/models", "/page/studio.js", "/api/camera", "/api/clip/1/result", "/no"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": basic("a-token-of-a-tes")},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Basic ä"},
        {"Authorization": "Bearer"},
        {"Cookie": f"toonify-studio={TOKEN}"},
        {"Cookie": "toonify-studio="},
    ],
)
def test_nobody_is_answered_without_the_token(port: int, path: str, headers: dict[str, str]) -> None:
    status, answered, text = ask(port, path, **headers)
    assert status == 401
    assert "toonify studio: got a request without its token" in text
    assert TOKEN not in text + str(answered)
    assert answered["WWW-Authenticate"].startswith("Basic ")  # a browser asks for a password


@pytest.mark.parametrize("authorization", [basic(TOKEN), f"Bearer {TOKEN}", f"bearer {TOKEN}"])
def test_the_token_opens_the_page_and_a_cookie_keeps_it_open(port: int, authorization: str) -> None:
    status, answered, _ = ask(port, "/", Authorization=authorization)
    assert status == 200
    cookie, *flags = answered["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= {*flags}
    assert TOKEN not in cookie
    assert ask(port, "/api/models", Cookie=cookie)[0] == 200


def test_a_webcam_needs_the_token_too(port: int) -> None:
    async def opened() -> bool:
        async with aiohttp.ClientSession(headers=dict([PROOF])) as session:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await session.ws_connect(f"http://127.0.0.1:{port}/api/camera")
            headers = {"Authorization": basic(TOKEN)}
            async with session.ws_connect(f"http://127.0.0.1:{port}/api/camera", headers=headers) as stream:
                return not stream.closed

    assert asyncio.run(opened())


def test_the_token_is_read_from_a_file_or_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert token_for("0.0.0.0", tmp_path / "token") == TOKEN
    assert token_for("127.0.0.1", None) is token_for("localhost", None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert token_for("0.0.0.0", None) == token_for("127.0.0.1", None) == TOKEN


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 20, "zwanzig größere Buchstaben".encode()])
def test_a_token_that_can_be_guessed_or_typed_by_nobody_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RequestError, match=r"file: got .* --token-file token, or set TOONIFY_STUDIO_TOKEN") as caught:
        token_for("127.0.0.1", tmp_path / "file")
    assert "short" not in str(caught.value).replace("too short", "")
