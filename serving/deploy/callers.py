"""Who may call: holders of keys, or of tokens (JWT) that an identity provider signed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from engines.contract.errors import RequestError
from serving.file_contents import UnusableFileError, file_text

SHORTEST_KEY = 16
"""Least number of a key's characters, so that it cannot be guessed by trying."""

_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What a public key must have, by its ``kty`` (RFC 7518 section 6, RFC 8037): the kinds that Envoy reads."""

_CURVES = {"EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+=*")
_REMEDY = "write one NAME=KEY a line; python3 -c 'import secrets; print(secrets.token_urlsafe())' makes a key"


@dataclass(frozen=True)
class ApiKeys:
    """The keys by the names of their holders, who send theirs as the header ``x-api-key``."""

    keys: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Tokens:
    """What a bearer token must be signed with, and say.

    Attributes:
        key_set: the provider's public keys, a JSON Web Key Set.
        issuer: the tokens' claim ``iss``.
        audience: what their claim ``aud`` must contain.
    """

    key_set: str = field(repr=False)
    issuer: str
    audience: str


def api_keys_from_file(path: Path) -> ApiKeys:
    """Read one NAME=KEY a line; empty lines and those that begin with # count for nothing.

    Raises:
        RequestError: the file cannot be read or has another form, or a name or key occurs twice. No key is shown.
    """
    keys: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition("="))
        problem = _problem(name, key, keys)
        if problem:
            _refuse(f"line {number} of {path}", problem, f"NAME=KEY, a key of {SHORTEST_KEY} characters or more")
        keys[name] = key
    if not keys:
        _refuse(str(path), "a file without keys", "one NAME=KEY a line")
    return ApiKeys(keys)


def tokens_from_file(path: Path, issuer: str | None, audience: str | None) -> Tokens:
    """Read a JSON Web Key Set, whose keys must be public ones.

    Raises:
        RequestError: the file cannot be read or holds something else, or there is no issuer or audience.
    """
    if not (issuer and audience):
        raise RequestError(
            "--jwks",
            got="no issuer, or no audience: tokens that the provider made for others would be taken too",
            expected="both",
            remedy="give --jwt-issuer and --jwt-audience",
        )
    try:
        found: Any = json.loads(_text(path))
        kinds = [key["kty"] for key in found["keys"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        kinds = []
    if not kinds:
        _refuse_keys(path, "a file without keys")
    # Whoever holds such a key can sign tokens, and the public keys' file is not kept secret.
    if "oct" in kinds or any("d" in key for key in found["keys"]):
        _refuse_keys(path, "a key that can sign")
    # Envoy does not start without a usable key, and what --output writes is read by Envoy elsewhere.
    if not any(_verifies(key) for key in found["keys"]):
        _refuse_keys(path, f"no key that Envoy can use ({', '.join(_MEMBERS)})")
    return Tokens(json.dumps(found), issuer, audience)


def _verifies(key: Mapping[str, Any]) -> bool:
    kind = key["kty"]
    members = [key.get(name) for name in _MEMBERS.get(kind, ())] if isinstance(kind, str) else []
    return bool(members) and all(map(_is_member, members)) and key.get("crv") in _CURVES.get(kind, (key.get("crv"),))


def _is_member(value: object) -> bool:
    return isinstance(value, str) and _BASE64URL.fullmatch(value) is not None


def _problem(name: str, key: str, keys: Mapping[str, str]) -> str:
    if not (_NAME.fullmatch(name) and _KEY.fullmatch(key)):
        return "another form"
    if len(key) < SHORTEST_KEY:
        return "a key that could be guessed"
    return "a name or key that an earlier line has" if name in keys or key in keys.values() else ""


def _text(path: Path) -> str:
    try:
        return file_text(path)
    except UnusableFileError as error:
        raise RequestError(str(path), got=error.why, expected="a text file", remedy="correct the path") from None


def _refuse(subject: str, got: str, expected: str) -> NoReturn:
    raise RequestError(subject, got=got, expected=expected, remedy=_REMEDY)


def _refuse_keys(path: Path, got: str) -> NoReturn:
    raise RequestError(
        str(path),
        got=got,
        expected="a JSON Web Key Set of public keys",
        remedy="give the one that your identity provider publishes",
    )
