"""TLS of a client's channel: credentials from files, and whether a port expects TLS at all."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import grpc

from engines.contract.errors import RequestError

_PROBE_SECONDS = 2.0


def tls_credentials(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Read the credentials of a TLS channel from PEM files.

    Args:
        ca: certificates of the authorities to trust; None trusts those that gRPC brings.
        certificate: this client's certificate, followed by those of its issuers, for servers that ask for one.
        key: the certificate's private key, without a password.

    Raises:
        RequestError: a file cannot be read or holds something else, or one of certificate and key is missing or does
            not belong to the other.
    """
    if (certificate is None) != (key is None):
        missing = "the certificate" if certificate is None else "the key"
        _refuse("TLS", f"a client's certificate or its key without {missing}", "both", "give --tls-cert and --tls-key")
    roots = authorities(ca) if ca else None
    if certificate is None or key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, private = _read(certificate), _read(key)
    check_pair(certificate, key)
    return grpc.ssl_channel_credentials(roots, private, chain)


def expects_tls(host: str, port: int) -> bool:
    """Return whether a server answers the beginning of TLS, also where it would then refuse this client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent on this connection but the greeting, so whose certificate it is does not matter.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _PROBE_SECONDS) as connection, context.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(str(path), error.strerror or "a file that cannot be read", "a PEM file", "correct the path")


def authorities(path: Path) -> bytes:
    """Read certificates of authorities from a PEM file.

    Raises:
        RequestError: the file cannot be read, or holds none.
    """
    pem = _read(path)
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        return pem
    _refuse(str(path), "a file without certificates", "certificates of authorities, in PEM", "give another file")


def check_pair(certificate: Path, key: Path) -> None:
    """Check that PEM files are a certificate and its private key, without a password.

    Raises:
        RequestError: they are not.
    """
    with suppress(ssl.SSLError, ValueError, OSError):
        # A key with a password would be asked for on the terminal; "" opens none.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
        return
    _refuse(
        f"{certificate} and {key}",
        "files that are no certificate and its key, or a key with a password",
        "a certificate and the private key that belongs to it, in PEM without a password",
        "give other files",
    )


def _refuse(subject: str, got: str, expected: str, remedy: str) -> NoReturn:
    raise RequestError(subject, got=got, expected=expected, remedy=remedy)
