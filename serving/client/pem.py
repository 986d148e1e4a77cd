"""PEM files of certificates and keys, read and checked; gRPC is not needed for it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from engines.contract.errors import RequestError
from serving.file_contents import UnusableFileError, file_content

_MOST_BYTES = 16 * 2**20
"""Bytes of the largest file; those of all public authorities have some hundred kilobytes."""


def read_pem(path: Path) -> bytes:
    """Read a file's bytes.

    Raises:
        RequestError: the file cannot be read, or is larger than 16 MiB.
    """
    try:
        return file_content(path, _MOST_BYTES)
    except UnusableFileError as error:
        _refuse(str(path), error.why, "a PEM file", "correct the path")


def authorities(path: Path) -> bytes:
    """Read certificates of authorities from a PEM file.

    Raises:
        RequestError: the file cannot be read, or holds none.
    """
    pem = read_pem(path)
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
