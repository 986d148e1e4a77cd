"""TLS of a client's channel: credentials from files, and whether a port expects TLS at all."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import grpc

from engines.contract.errors import RequestError
from serving.client.pem import authorities, check_pair, read_pem

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
        raise RequestError(
            "TLS",
            got=f"a client's certificate or its key without {missing}",
            expected="both",
            remedy="give --tls-cert and --tls-key",
        )
    roots = authorities(ca) if ca else None
    if certificate is None or key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, private = read_pem(certificate), read_pem(key)
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
