"""The addresses of servers as users write them, and as one gRPC channel takes them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from engines.contract.errors import RequestError, ServerError

_HOST_AND_PORT = re.compile(r"(?:\[(?P<literal>[0-9A-Fa-f:.%]+)\]|(?P<name>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_HTTPS = "https://"
_LISTS = ("ipv4:", "ipv6:")
_OTHER_TARGETS = ("dns:", "unix:")


@dataclass(frozen=True)
class Addresses:
    """Where a client's servers are.

    ``text``: the addresses in an error.
    ``target``: the addresses for gRPC.
    ``encrypted``: whether they were given as ``https://``.
    ``certificate_name``: with several servers, the name that their certificates must have if there is TLS.
    """

    text: str
    target: str
    encrypted: bool = False
    certificate_name: str = ""

    @property
    def several(self) -> bool:
        """True if more than one was given; a single name may stand for several too."""
        return bool(self.certificate_name)


def addresses_from(url: str | Sequence[str]) -> Addresses:
    """Read one address or several, each HOST:PORT or https://HOST:PORT; a text may list them with commas between.

    gRPC's own forms ``ipv4:A:PORT,B:PORT``, ``ipv6:[A]:PORT,...``, ``dns:NAME:PORT`` and ``unix:PATH`` are taken too.
    The names among several addresses are looked up here, once. A single name is looked up by gRPC, again and again, and
    may stand for any number of servers.

    Raises:
        RequestError: an address has another form, or some are https:// and others are not.
        ServerError: none of several names is known.
    """
    texts = [url] if isinstance(url, str) else [*url]
    if len(texts) == 1 and texts[0].startswith(_OTHER_TARGETS) and "://" not in texts[0]:
        return Addresses(texts[0], texts[0])
    parts = [part for text in texts for part in _without_list_scheme(text).split(",")]
    encrypted = {part.startswith(_HTTPS) for part in parts}
    if len(encrypted) != 1:
        raise _refused(", ".join(map(_shown, parts)), "some with https:// and some without, or none")
    places = [host_and_port(part) for part in parts]
    written = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places]
    if len(places) == 1:
        return Addresses(written[0], written[0], True in encrypted)
    return Addresses(" or ".join(written), _target_of(places), True in encrypted, places[0][0])


def _without_list_scheme(text: str) -> str:
    return next((text.removeprefix(scheme) for scheme in _LISTS if text.startswith(scheme)), text)


def host_and_port(part: str) -> tuple[str, int]:
    """Read HOST:PORT or https://HOST:PORT.

    Raises:
        RequestError: the text has another form.
    """
    text = part.strip()
    if text.startswith(_HTTPS):
        text = text.removeprefix(_HTTPS).removesuffix("/")
        text = text if re.search(r":[0-9]+$", text) else f"{text}:443"
    match = _HOST_AND_PORT.fullmatch(text)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise _refused(_shown(part), "a scheme" if "://" in part else "something else")
    return match["literal"] or match["name"], int(match["port"])


def _shown(part: str) -> str:
    """Return an address for an error; what precedes an @ may be a password."""
    return repr("***@" + part.rpartition("@")[2] if "@" in part else part)


def _refused(shown: str, got: str) -> RequestError:
    return RequestError(
        f"url {shown}",
        got=got,
        expected="HOST:PORT of the server's gRPC endpoint, or https://HOST:PORT",
        remedy="127.0.0.1:8001 is the usual one on this machine; keys are given as headers",
    )


def _target_of(places: Sequence[tuple[str, int]]) -> str:
    """Return gRPC's target for several addresses, which must be numbers and of one family."""
    found: list[tuple[str, int]] = []
    for host, port in places:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue  # one of the others may answer
        found += [(str(address[0]), port) for *_, address in answers]
    if not found:
        raise ServerError(
            f"servers at {', '.join(host for host, _ in places)}",
            got="names that are not known here",
            expected="names of machines",
            remedy="check the spelling of the addresses, and the network",
        )
    numbers = [(ipaddress.ip_address(host.partition("%")[0]), port) for host, port in dict.fromkeys(found)]
    if all(number.version == 4 for number, _ in numbers):
        return "ipv4:" + ",".join(f"{number}:{port}" for number, port in numbers)
    mapped = [(f"::ffff:{number}" if number.version == 4 else str(number), port) for number, port in numbers]
    return "ipv6:" + ",".join(f"[{number}]:{port}" for number, port in mapped)
