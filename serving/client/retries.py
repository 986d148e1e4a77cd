"""When and how soon a failed request is sent again: one policy for both clients.

Every request of a client may be repeated, since none changes anything on the server.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from tritonclient.utils import InferenceServerException

ATTEMPTS = 7
"""How often a request is sent at most. The pauses between them last longer than it takes a channel to recognise an
address that fails (``serving.client.channel``)."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_TOKENS, _TOKENS_OF_A_SUCCESS = 100.0, 0.5
NO_GRPC = ("http1.x server", "Failed parsing HTTP/2", "missing selected ALPN")
"""What gRPC says of a port that expects HTTP/1, without and with TLS."""

_MISTAKES_OF_USERS = (
    "CERTIFICATE_VERIFY_FAILED",
    "Hostname Verification Check failed",
    "WRONG_VERSION_NUMBER",
    "Failed to create security handshaker",
    *NO_GRPC,
)
"""What gRPC says of a connection that fails again in the same way until the user changes something."""


class Retries:
    """Decides for one client, and bounds its retries, which would make the overload of a server worse.

    The budget works as gRPC's ``retryThrottling``: a failure costs a token, a success gives back a half, and requests
    are repeated only while more than half of the tokens are left. The first failure of a request costs nothing unless
    it is an overload, since a server that refuses because it stops has nothing else to do.
    """

    def __init__(self) -> None:
        self._tokens = _TOKENS

    def succeeded(self) -> None:
        """Note an answer."""
        self._tokens = min(_TOKENS, self._tokens + _TOKENS_OF_A_SUCCESS)

    def pause_after(self, error: InferenceServerException, attempt: int) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is none.

        The second attempt follows at once, as the channel takes the addresses in turn and another server may have what
        this one lacks; unless the server is overloaded. Later pauses double, and differ between clients.

        Args:
            error: the failure.
            attempt: the number of this attempt, from 1.
        """
        if not may_succeed_later(error):
            return None
        elsewhere = attempt == 1 and not is_overload(error)
        self._tokens = max(self._tokens - (not elsewhere), 0.0)
        pushback = _pushback(error)
        if attempt >= ATTEMPTS or self._tokens <= _TOKENS / 2 or (pushback is not None and pushback < 0):
            return None
        if pushback is not None:
            return pushback
        if elsewhere:
            return 0.0
        longest = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1)  # noqa: S311  # no secret depends on it


def may_succeed_later(error: InferenceServerException) -> bool:
    """Return whether the same request may succeed at another server, or later."""
    if status_of(error) == "UNAVAILABLE":
        return not any(mistake in message_of(error) for mistake in _MISTAKES_OF_USERS)
    return is_withdrawn(error) or is_dead(error)


def is_withdrawn(error: InferenceServerException) -> bool:
    """Return whether the model exists but the server accepts no requests for it, because it stops or replaces it."""
    return status_of(error) == "NOT_FOUND" and "no available versions" in message_of(error)


def is_dead(error: InferenceServerException) -> bool:
    """Return whether the process of a Python model has died, as which the server refuses all requests for it."""
    message = message_of(error)
    return status_of(error) == "INTERNAL" and "Stub process" in message and "not healthy" in message


def is_overload(error: InferenceServerException) -> bool:
    """Return whether a server or a proxy refuses the request because it has too many."""
    message = message_of(error).lower()
    if status_of(error) == "RESOURCE_EXHAUSTED":
        return "larger than max" not in message
    return status_of(error) == "UNAVAILABLE" and ("exceeds maximum queue size" in message or "overflow" in message)


def status_of(error: InferenceServerException) -> str:
    """Return the name of gRPC's status, such as "UNAVAILABLE"."""
    return str(error.status() or "an unknown status").removeprefix("StatusCode.")


def message_of(error: InferenceServerException) -> str:
    """Return what the server or gRPC says; it may have several lines."""
    return error.message() or "no message"


def _pushback(error: InferenceServerException) -> float | None:
    """Return the seconds to wait that the server or a proxy asks for, a negative number for "never", or None."""
    # tritonclient hides the answer's metadata, but not the exception that it replaces.
    cause: Any = error.__context__
    trailing = getattr(cause, "trailing_metadata", lambda: None)() or ()
    for name, value in trailing:
        if name == "grpc-retry-pushback-ms":
            with suppress(ValueError):
                return int(value) / 1000
            return -1.0
    return None
