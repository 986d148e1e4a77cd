"""What an edge does: its servers, where it listens, whom it admits and how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from engines.contract.errors import RequestError
from serving.client.addresses import host_and_port
from serving.client.pem import authorities, check_pair
from serving.deploy.callers import ApiKeys, Tokens, api_keys_from_file, tokens_from_file
from serving.deploy.limits import (
    ADDRESS,
    LARGEST_MESSAGE,
    LONGEST_REQUEST,
    MIB,
    MOST_MIB,
    MOST_REQUESTS,
    MOST_SECONDS,
    PORT,
    REQUESTS_A_SERVER,
)
from serving.triton.ports import is_loopback, url_of


@dataclass(frozen=True)
class Tls:
    """PEM files: the edge's certificate and key, and the authorities of its clients' certificates if it asks for one.

    Raises:
        RequestError: a file cannot be read, holds something else, or certificate and key do not belong together.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        check_pair(self.certificate, self.key)
        if self.client_ca:
            authorities(self.client_ca)


@dataclass(frozen=True)
class Edge:
    """An edge in front of Triton servers of the same models.

    Attributes:
        upstreams: HOST:PORT of each server's gRPC endpoint; a name may stand for several servers.
        address: address to listen on.
        port: port to listen on.
        tls: the edge's certificate; None means no encryption.
        callers: who may call; None admits everyone, or with ``tls.client_ca`` everyone with a certificate.
        max_requests: requests in flight at all servers together; further ones are refused at once.
            0 stands for ``REQUESTS_A_SERVER`` for each of ``upstreams``.
        max_message: bytes of the largest request.
        timeout: seconds after which a request is given up, if its client sets no earlier deadline.
        http: take JPEG files over HTTP too (``POST /toonify``).

    Raises:
        RequestError: there is no server or one twice, an address has another form, a limit is not positive or too
            large, or other machines could reach the edge without TLS or without saying who they are.
    """

    upstreams: tuple[str, ...]
    address: str = ADDRESS
    port: int = PORT
    tls: Tls | None = None
    callers: ApiKeys | Tokens | None = field(default=None, repr=False)
    max_requests: int = 0
    max_message: int = LARGEST_MESSAGE * MIB
    timeout: float = LONGEST_REQUEST
    http: bool = False

    def __post_init__(self) -> None:
        if not self.upstreams:
            _refuse("edge", "no server", "one or more", "give --upstream HOST:PORT")
        for upstream in self.upstreams:
            _check_upstream(upstream)
        if len({*self.places}) < len(self.places):
            _refuse("edge", "a server twice", "each server once", "give every --upstream once")
        self._check_limits()
        _check_address(self.address)
        if not is_loopback(self.address):
            self._check_open_address()

    @property
    def places(self) -> list[tuple[str, int]]:
        """Host and port of each server."""
        return [host_and_port(upstream) for upstream in self.upstreams]

    @property
    def admitted(self) -> int:
        """Requests in flight at all servers together."""
        return self.max_requests or REQUESTS_A_SERVER * len(self.upstreams)

    @property
    def url(self) -> str:
        """The address as clients on this machine give it."""
        place = url_of(self.address, self.port)
        return f"https://{place}" if self.tls else place

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts of the configuration that stay secret."""
        return tuple(self.callers.keys.values()) if isinstance(self.callers, ApiKeys) else ()

    def _check_limits(self) -> None:
        limits = {
            "--max-requests": (self.admitted, MOST_REQUESTS),
            "--max-message": (self.max_message / MIB, MOST_MIB),
            "--timeout": (self.timeout, MOST_SECONDS),
        }
        for option, (value, largest) in limits.items():
            if not 0 < value <= largest:
                _refuse(f"edge's {option}", f"{value:g}", f"a number above 0, at most {largest}", "leave it out")

    def _check_open_address(self) -> None:
        """Raise RequestError unless callers are encrypted and known, since other machines reach the address."""
        if self.tls and (self.callers or self.tls.client_ca):
            return
        _refuse(
            f"edge at {self.address}",
            f"an address that other machines can reach, without {'known callers' if self.tls else 'TLS'}",
            "a certificate, and callers who say who they are",
            "give --tls-cert and --tls-key, and --api-keys, --jwks or --client-ca",
        )


def callers_from_files(
    api_keys: Path | None, jwks: Path | None, issuer: str | None, audience: str | None
) -> ApiKeys | Tokens | None:
    """Read who may call: the holders of keys, or of tokens; None without a file.

    Args:
        api_keys: file of keys; see ``api_keys_from_file``.
        jwks: file of public keys; see ``tokens_from_file``, also for issuer and audience.
        issuer: the tokens' issuer.
        audience: the tokens' audience.

    Raises:
        RequestError: a file does not hold what it should, or what is given contradicts itself.
    """
    if api_keys and jwks:
        _refuse("edge", "keys and tokens", "one of the two", "leave out --api-keys or --jwks")
    if (issuer or audience) and not jwks:
        _refuse("edge", "an issuer or audience of tokens without --jwks", "both or neither", "give --jwks")
    if api_keys:
        return api_keys_from_file(api_keys)
    return tokens_from_file(jwks, issuer, audience) if jwks else None


def tls_from_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """Read the edge's certificate; None without a file.

    Raises:
        RequestError: see ``Tls``; or files are missing that belong to the given ones.
    """
    if certificate and key:
        # Envoy gets whole paths: its working folder need not be this one.
        return Tls(certificate.resolve(), key.resolve(), client_ca.resolve() if client_ca else None)
    if certificate or key or client_ca:
        _refuse("edge", "a part of what TLS needs", "a certificate and its key", "give --tls-cert and --tls-key")
    return None


def _refuse(subject: str, got: str, expected: str, remedy: str) -> NoReturn:
    raise RequestError(subject, got=got, expected=expected, remedy=remedy)


def _check_address(address: str) -> None:
    """Raise RequestError unless an address is a number: Envoy looks up no name to listen on."""
    try:
        ip_address(address)
    except ValueError:
        _refuse(f"edge at {address!r}", "no number", "an IP address", "127.0.0.1 is this machine alone, 0.0.0.0 all")


def _check_upstream(upstream: str) -> None:
    if upstream.startswith("https://"):
        _refuse(
            f"upstream {upstream!r}",
            "an address with TLS",
            "HOST:PORT of a server's gRPC endpoint, which has none",
            "leave https:// out, and keep edge and servers in one network that others do not reach",
        )
    host_and_port(upstream)
