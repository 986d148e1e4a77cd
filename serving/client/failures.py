"""The errors of a server, a proxy or the network as sentences that say who has to do what."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tritonclient.utils import InferenceServerException

from engines.contract.errors import AnswerError, RequestError, ServerError, ToonifyError
from serving.client.retries import NO_GRPC, is_dead, is_overload, is_withdrawn, message_of, status_of

_LONGEST_MESSAGE = 300
_HEADER = "as a header (--header NAME=@FILE, TOONIFY_HEADERS or the client's headers)"
_HUNG_UP = re.compile(r"last error: .*ipv[46]:\[?([^\[\]]+?)\]?:([0-9]+): (?!Failed to connect)")


@dataclass(frozen=True)
class Asked:
    """What was asked: the servers' addresses, the model if any, the seconds allowed, and the texts that stay secret."""

    url: str
    model: str
    seconds: float
    secrets: Collection[str] = ()
    encrypted: bool = False

    def message(self, error: InferenceServerException) -> str:
        """Return what the server or gRPC says, in one line without secrets."""
        line = " ".join(message_of(error).split()).rstrip(".")
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + " ..."


def error_from_triton(error: InferenceServerException, asked: Asked) -> ToonifyError:
    """Return a RequestError if the caller can correct it, or a ServerError if the server or the network is at fault."""
    status, message = status_of(error), asked.message(error)
    subject = f"model {asked.model!r} at {asked.url}" if asked.model else f"server at {asked.url}"
    if status == "DEADLINE_EXCEEDED":
        return RequestError(
            subject,
            got=f"no answer within {asked.seconds:g} s",
            expected="an answer in time",
            remedy="check that the server is ready, give a longer timeout or send fewer faces",
        )
    for applies, fault, expected, remedy in _SENTENCES:
        if applies(error, asked):
            about = f"server at {asked.url}" if status == "UNAVAILABLE" or fault is ServerError else subject
            return fault(about, got=f"{status}: {message}", expected=expected, remedy=remedy)
    if status in ("INVALID_ARGUMENT", "NOT_FOUND"):
        return RequestError(
            subject,
            got=f"the refusal {message!r}",
            expected="a request that the server accepts",
            remedy="correct the request, or choose another model (the client's models() lists them)",
        )
    kind = AnswerError if status == "INTERNAL" else ServerError  # others are a proxy's, or of the way there
    return kind(
        f"server at {asked.url}",
        got=f"{status}: {message}",
        expected="an answer",
        remedy="see the log of the server, or of the proxy in front of it",
    )


def refusal_of_shared_memory(error: InferenceServerException, asked: Asked) -> str:
    """Say why the server did not register shared memory."""
    if status_of(error) in ("UNAVAILABLE", "UNIMPLEMENTED"):
        return "the server keeps it closed, which toonify serve --allow-shared-memory changes"
    return asked.message(error)


def address_that_hung_up(error: InferenceServerException) -> tuple[str, int] | None:
    """Return host and port of a server that took a connection but did not begin gRPC, as if it expects TLS."""
    match = _HUNG_UP.search(message_of(error))
    return (match[1], int(match[2])) if match else None


def encryption_expected(url: str) -> RequestError:
    """Return the error of a request without TLS to a port that expects it."""
    return RequestError(
        f"server at {url}",
        got="a port that expects TLS",
        expected="one without it, for an address that does not begin with https://",
        remedy="give it as https://HOST:PORT, and --tls-ca if its certificate comes from an authority of yours",
    )


_Applies = Callable[[InferenceServerException, Asked], bool]


def _has(status: str, *parts: str) -> _Applies:
    """Make the condition that an error has this status, and one of these texts in its message if there are any."""

    def applies(error: InferenceServerException, asked: Asked) -> bool:
        message = message_of(error).lower()
        return status_of(error) == status and (not parts or any(part.lower() in message for part in parts))

    return applies


def _wants_a_certificate(error: InferenceServerException, asked: Asked) -> bool:
    # The last one is what gRPC makes of an alert that follows the handshake, as TLS 1.3 has it.
    signs = ("Socket closed", "reset by peer", "CERTIFICATE_REQUIRED", "TSI_DATA_CORRUPTED")
    hung_up = address_that_hung_up(error) is not None
    return asked.encrypted and hung_up and any(sign in message_of(error) for sign in signs)


_SMALLER = "send fewer faces at a time, or JPEG (--jpeg, toonify_jpeg), or have the limit raised"

_SENTENCES: tuple[tuple[_Applies, type[RequestError | ServerError], str, str], ...] = (
    (_has("UNAUTHENTICATED"), RequestError, "a key or token that is known there", f"give one {_HEADER}"),
    (
        _has("PERMISSION_DENIED"),
        RequestError,
        "a caller who may ask this",
        f"have it allowed by whoever runs the server, or give another key {_HEADER}",
    ),
    (
        _has("UNKNOWN", "payload too large", "status: 413"),
        RequestError,
        "a request within the limit of the size",
        _SMALLER,
    ),
    (_has("RESOURCE_EXHAUSTED", "larger than max"), RequestError, "a message within the limit of the size", _SMALLER),
    (
        lambda error, asked: is_overload(error),
        ServerError,
        "room for one more request",
        "try again later, keep fewer requests in flight, or add servers",
    ),
    (
        lambda error, asked: is_withdrawn(error),
        ServerError,
        "an answer",
        "wait until the model is served again, or give the addresses of several servers",
    ),
    (
        lambda error, asked: is_dead(error),
        ServerError,
        "an answer",
        "restart that server, which toonify serve does by itself, or give the addresses of several servers",
    ),
    (
        _has("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED"),
        RequestError,
        "a certificate of an authority that this client trusts",
        "give the authority's certificate as --tls-ca, or have the server's certificate renewed",
    ),
    (
        _has("UNAVAILABLE", "Hostname Verification Check failed"),
        RequestError,
        "a certificate for the name in the address",
        "give the address by a name that the server's certificate has",
    ),
    (
        _has("UNAVAILABLE", "WRONG_VERSION_NUMBER"),
        RequestError,
        "a port that expects TLS",
        "leave https:// and --tls-ca out, or give the port that has TLS",
    ),
    (
        _has("UNAVAILABLE", *NO_GRPC),
        RequestError,
        "the port of gRPC, which is 8001 unless it was changed",
        "give that port instead of the one for HTTP or metrics",
    ),
    (
        _wants_a_certificate,
        RequestError,
        "a connection, which the server closes if it wants a client's certificate",
        "give one as --tls-cert and --tls-key, or check that the server runs",
    ),
    (
        _has("UNAVAILABLE", "errors resolving"),
        RequestError,
        "the name of a machine",
        "check the spelling of the address, and the network",
    ),
    (
        _has("UNAVAILABLE"),
        ServerError,
        "an answer",
        "check that it runs there, or start one with: toonify serve",
    ),
)
"""Who is at fault for which error, what was expected and what to do; the first row that applies counts."""
