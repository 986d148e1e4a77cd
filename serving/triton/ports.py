"""Checks of the addresses and ports of a server that is about to start."""

from __future__ import annotations

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
                _probe(address if isinstance(address, str) else address[service], service, port, option)
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


def _probe(address: str, service: str, port: int, option: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    except OSError as error:
        raise ServerError(
            f"{service} port {port} of {address}",
            got=os.strerror(error.errno) if error.errno else str(error),
            expected="a port that is free to listen on",
            remedy=f"stop the program that uses it or choose another with {option.format(service)}",
        ) from None
