"""How a command reaches servers: addresses, TLS and headers, from its options and from environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from engines.contract.errors import RequestError
from serving.client.addresses import addresses_from
from serving.client.defaults import DEFAULT_URL
from serving.client.headers import is_trace
from serving.file_contents import UnusableFileError, file_text
from serving.quiet_grpc import quiet_grpc

if TYPE_CHECKING:
    from serving.client import ToonifyClient

URL_VARIABLE, HEADERS_VARIABLE, TRACE_VARIABLE = "TOONIFY_URL", "TOONIFY_HEADERS", "TRACEPARENT"
_TLS_VARIABLES = ("TOONIFY_TLS_CA", "TOONIFY_TLS_CERT", "TOONIFY_TLS_KEY")

_NAMES_OF_KEYS = re.compile(r"auth|key|token|secret|passw|cookie|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Connection:
    """Servers of the same models, and how to reach them.

    ``urls``: their addresses.
    ``tls_ca``, ``tls_cert``, ``tls_key``: PEM files of ``serving.client.tls_credentials``; any of them means TLS.
    ``headers``: sent along with every request.
    ``traceparent``: the W3C trace context of all requests.
    ``from_environment``: send the headers of the environment along too, which are read when a client is made: models
    in this process need none of them.
    ``explicit``: False if all of it comes from the environment, which gives way to models in this process.
    """

    urls: tuple[str, ...] = (DEFAULT_URL,)
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    traceparent: str | None = None
    from_environment: bool = False
    explicit: bool = True

    def __str__(self) -> str:
        return addresses_from(self.urls).text

    def client(self, timeout: float) -> ToonifyClient:
        """Make a client, whose requests may take so many seconds.

        Raises:
            RequestError: an address, a header or a file has another form, or a header's file cannot be read.
        """
        with quiet_grpc():
            from serving.client import ToonifyClient, tls_credentials
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        return ToonifyClient(
            self.urls,
            timeout=timeout,
            headers={**_headers_of_environment(), **self.headers} if self.from_environment else self.headers,
            credentials=tls_credentials(*files) if any(files) else None,
            traceparent=self.traceparent,
        )


def connection_from_options(
    url: Sequence[str] | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    header: Sequence[str] | None,
) -> Connection:
    """Make the connection that options and environment variables describe; an option takes the place of its variable.

    Raises:
        BadParameter: a header has another form, or is a key in the open.
        RequestError: a header's file cannot be read.
    """
    given = (tls_ca, tls_cert, tls_key)
    from_environment = [Path(os.environ[name]) if os.environ.get(name) else None for name in _TLS_VARIABLES]
    # A certificate and its key belong together, so the environment completes neither.
    cert, key = given[1:] if any(given[1:]) else from_environment[1:]
    trace = os.environ.get(TRACE_VARIABLE, "")
    return Connection(
        tuple(url or os.environ.get(URL_VARIABLE, "").split() or (DEFAULT_URL,)),
        tls_ca or from_environment[0],
        cert,
        key,
        dict(_header_from_option(option) for option in header or ()),
        trace if is_trace(trace) else None,  # that of another form is to be ignored, as the W3C says
        from_environment=True,
        explicit=bool(url or any(given) or header),
    )


def _header_from_option(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not (name and equals):
        raise typer.BadParameter("it is not NAME=VALUE or NAME=@FILE", param_hint="--header")
    if _NAMES_OF_KEYS.search(name) and not value.startswith("@"):
        raise typer.BadParameter(
            f"every user of this machine can read a command line, so a key does not belong there; write it to a file "
            f"and give {name}=@FILE, or set {HEADERS_VARIABLE}",
            param_hint="--header",
        )
    return name.lower(), _value_of(name, value)


def _headers_of_environment() -> dict[str, str]:
    headers = {}
    for line in filter(None, map(str.strip, os.environ.get(HEADERS_VARIABLE, "").splitlines())):
        name, equals, value = line.partition("=")
        if not (name and equals):
            raise RequestError(
                HEADERS_VARIABLE,
                got="a line without =",
                expected="NAME=VALUE or NAME=@FILE on each line",
                remedy="correct the variable",
            )
        headers[name.strip().lower()] = _value_of(name, value.strip())
    return headers


def _value_of(name: str, value: str) -> str:
    """Return a header's value, which may be in a file."""
    if not value.startswith("@"):
        return value
    path = Path(value[1:])
    try:
        return file_text(path).strip()
    except UnusableFileError as error:
        raise RequestError(
            f"header {name!r}",
            got=f"{path}: {error.why}",
            expected="a file that holds the header's value",
            remedy="correct the path",
        ) from None
