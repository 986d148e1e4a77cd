"""Checks of the addresses and ports of a server that is about to start."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from engines.contract.errors import ServerError


def free_ports(
    address: str | Mapping[str, str], requested: Mapping[str, int], *, option: str = "--{}-port"
) -> dict[str, int]:
    """Return each service's port after checking that it can be listened on; 0 becomes any free port.

    Args:
        address: where all services listen, or where each one does.
        requested: the services' ports.
        option: the command's option for a service's port, with {} for the service's name.

    Raises:
        ServerError: a port is taken, or the address does not belong to this machine.
    """
    with ExitStack() as stack:  # all probes stay open until the end, so that no port is chosen twice
        probes = {
            service: stack.enter_context(
                listener(address if isinstance(address, str) else address[service], service, port, option)
            )
            for service, port in requested.items()
        }
        return {service: probe.getsockname()[1] for service, probe in probes.items()}


def is_listening(address: str, port: int) -> bool:
    """Return whether a connection to the port can be made now."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def host_of(address: str) -> str:
    """Return the host by which this machine itself reaches what listens on an address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  # to tell it apart


def url_of(address: str, port: int) -> str:
    """Return HOST:PORT as clients on this machine give it to reach what listens on an address."""
    host = host_of(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listener(address: str, service: str, port: int, option: str) -> socket.socket:
    """Listen on a port; 0 takes any free one.

    Raises:
        ServerError: see ``free_ports``, which has the same arguments.
    """
    subject, remedy = f"{service} port {port} of {address}", f"choose another with {option.format(service)}"
    if not 0 <= port < 2**16:
        raise ServerError(subject, got="no number of a port", expected="one from 0 to 65535", remedy=remedy)
    _check_known(address)
    try:
        return socket.create_server((address, port), family=_family(address))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(address) from None
        raise ServerError(
            subject,
            got=os.strerror(error.errno) if error.errno else str(error),
            expected="a port that is free to listen on",
            remedy=f"stop the program that uses it or {remedy}",
        ) from None


def _check_known(address: str) -> None:
    """Raise ServerError about what is no address, and about an empty one, which stands for all addresses."""
    try:
        if address:
            socket.getaddrinfo(address, None, _family(address), socket.SOCK_STREAM)
            return
    except (OSError, UnicodeError, TypeError):  # their messages say little, and a name's length is one of many reasons
        pass
    raise _no_address(address)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _no_address(address: str) -> ServerError:
    return ServerError(
        f"address {address!r}",
        got="none that belongs to this machine",
        expected="an address of this machine, or a name for one",
        remedy="give 127.0.0.1, or see what ip address lists",
    )
