"""The metadata of requests: a user's headers, the model's name, and the trace that a request belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias
from urllib.parse import quote

from engines.contract.errors import RequestError

MODEL_HEADER = "toonify-model"
"""Header with the requested model's name, percent-encoded: every request has the same path, so a proxy that routes,
limits or logs by model needs it."""

TRACE_HEADER = "traceparent"
"""Header of the W3C's recommendation "Trace Context"."""

Traceparent: TypeAlias = str | Callable[[], str | None] | None
"""A trace for all requests, or a function that returns the one of each request, or None where there is none."""

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]+")
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_SHORT = 3
"""Number of characters up to which a word is no secret, and its removal would spoil sentences."""


class Metadata:
    """What one client sends along with every request.

    Args:
        headers: names and values; names are case-insensitive.
        traceparent: see ``Traceparent``.

    Raises:
        RequestError: gRPC does not carry a name or a value, or the trace has another form. A value is never shown.
    """

    def __init__(self, headers: Mapping[str, str] | None, traceparent: Traceparent = None) -> None:
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        for name, value in self._headers.items():
            _check_header(name, value)
        self._traceparent = traceparent
        if isinstance(traceparent, str):
            _check_trace(traceparent)

    @property
    def secrets(self) -> Collection[str]:
        """The texts that no error shows: the headers' values, and the words in them, such as a token after "Bearer"."""
        words = [word for value in self._headers.values() for word in (value, *value.split()) if len(word) > _SHORT]
        return sorted(words, key=len, reverse=True)

    def of_request(self, model: str) -> dict[str, str]:
        """Return the metadata of a request to a model; "" is one to none."""
        trace = self._traceparent() if callable(self._traceparent) else self._traceparent
        named = {MODEL_HEADER: quote(model)} if model else {}
        traced = {TRACE_HEADER: _check_trace(trace)} if trace else {}
        return {**named, **traced, **self._headers}


def is_trace(text: str) -> bool:
    """Return whether a text is the value of a header ``traceparent``."""
    return bool(_TRACE.fullmatch(text))


def _check_header(name: str, value: str) -> None:
    shown = f"header {name!r}"
    if not _NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
        raise RequestError(
            shown,
            got="a name that gRPC does not send as text",
            expected="letters, digits, - _ and ., without grpc- before or -bin behind",
            remedy="correct the name",
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value) or value != value.strip():
        raise RequestError(
            shown,
            got="a value that is empty, or has spaces around it or other characters than printable ASCII",
            expected="printable ASCII",
            remedy="correct the value, such as a key's",
        )


def _check_trace(text: str) -> str:
    if not is_trace(text):
        raise RequestError(
            TRACE_HEADER,
            got=repr(text),
            expected="VERSION-TRACE-PARENT-FLAGS of 2, 32, 16 and 2 lower-case hexadecimal digits",
            remedy="take it from the tracing library",
        )
    return text
