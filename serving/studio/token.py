"""The token without which a studio that other machines can reach answers nobody.

A browser asks for it as for a password (HTTP's Basic authentication), so that it stands in no address and no history;
a program may send it as a bearer token. A cookie carries the proof further, since browsers differ in whether they send
a password along when a page opens a WebSocket.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from engines.contract.errors import RequestError
from serving.file_contents import UnusableFileError, file_text
from serving.studio.library import Handler, Middleware, web
from serving.studio.refusal import Refusal
from serving.triton.ports import is_loopback

TOKEN_VARIABLE = "TOONIFY_STUDIO_TOKEN"  # noqa: S105  # the variable's name
SHORTEST = 16
"""Least number of a token's characters, so that it cannot be guessed by trying."""

_COOKIE = "toonify-studio"
_REMEDY = (
    "make one with: (umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe())' > token), and give "
    f"--token-file token, or set {TOKEN_VARIABLE}"
)


def token_for(address: str, file: Path | None) -> str | None:
    """Return the token in a file, or in the environment variable ``TOKEN_VARIABLE``; None if there is none.

    Raises:
        RequestError: the token is too short or cannot be read, or other machines reach the address and there is none.
    """
    token = _read(file) if file else os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and not file:
        if is_loopback(address):
            return None
        raise RequestError(
            f"toonify studio at {address}",
            got="an address that other machines can reach, and no token",
            expected="a token, for which browsers ask as for a password",
            remedy=_REMEDY,
        )
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()):
        raise RequestError(
            str(file or TOKEN_VARIABLE),
            got="a token that is too short, or no line of ASCII",
            expected=f"at least {SHORTEST} characters",
            remedy=_REMEDY,
        )
    return token


def only_with_token(token: str | None) -> Middleware:
    """Make the middleware that refuses, with status 401, requests without the token; None lets all pass."""
    proof = secrets.token_urlsafe()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is None or _equal(request.cookies.get(_COOKIE, ""), proof):
            return await handler(request)
        if not _equal(_given_token(request.headers.get("Authorization", "")), token):
            return _refusal()
        response = await handler(request)
        if not response.prepared:
            response.set_cookie(_COOKIE, proof, httponly=True, samesite="Strict", secure=request.secure)
        return response

    return check


def _given_token(authorization: str) -> str:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _equal(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of ``given`` is right."""
    return secrets.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def _refusal() -> web.Response:
    error = Refusal(
        401,
        "toonify studio",
        got="a request without its token",
        expected="the token as a password, with any name of a user, or as a bearer token",
        remedy="ask whoever runs the studio for it",
    )
    challenge = 'Basic realm="toonify studio: the token is the password", charset="UTF-8"'
    return web.json_response({"error": str(error)}, status=error.status, headers={"WWW-Authenticate": challenge})


def _read(file: Path) -> str:
    try:
        return file_text(file).strip()
    except UnusableFileError as error:
        expected = "a file that holds the studio's token"
        raise RequestError(str(file), got=error.why, expected=expected, remedy=_REMEDY) from None
