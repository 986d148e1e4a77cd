"""Reader of ``.npy`` files of strangers: nothing in one is executed, and no memory is taken for what it only claims.

NumPy itself reads a header as a Python expression, which fails in many ways where the file is damaged.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]\w{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,9}L?, ?){0,8}(?:\d{1,9}L?)?)\), \} *\n?"
)
"""The header as NumPy writes it, in Python 2 too."""


class UnusableFileError(Exception):
    """Says ``why`` a file cannot be used, in a few words for the sentence of a ToonifyError."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def file_content(path: Path, most: int) -> bytes:
    """Read a whole file of at most ``most`` bytes.

    Raises:
        UnusableFileError: the file cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)  # a device has no size, and no end
    except OSError as error:
        raise UnusableFileError(error.strerror or "an unreadable file") from None
    return checked_size(data, most)


def checked_size(data: bytes, most: int) -> bytes:
    """Return the bytes if there are at most ``most``.

    Raises:
        UnusableFileError: there are more.
    """
    if len(data) > most:
        raise UnusableFileError(f"more than {most // 2**20} MiB")
    return data


def array_from_npy(data: bytes) -> AnyArray:
    """Read an array of float16, float32 or float64 with one number at least; it is a view of the bytes.

    Raises:
        UnusableFileError: the bytes are damaged, or hold something else.
    """
    if not data.startswith(_MAGIC):
        raise UnusableFileError("a file of another format")
    length, start = (data[8:10], 10) if data[6:7] == b"\x01" else (data[8:12], 12)
    end = start + int.from_bytes(length, "little")
    header = _HEADER.fullmatch(data[start:end])
    if header is None:
        raise UnusableFileError("a damaged file, or one that NumPy did not write")
    kind, order, sizes = (group.decode() for group in header.groups())
    if kind[1:] not in ("f2", "f4", "f8"):
        raise UnusableFileError("Python objects, which are not read" if "O" in kind else f"numbers of the type {kind}")
    shape = [int(size) for size in sizes.replace("L", "").split(",") if size.strip()]
    if 0 in shape:
        raise UnusableFileError(f"an array of shape {shape}")
    # Compared first, so that no memory is taken for what a header only claims.
    if prod(shape) * int(kind[2:]) != len(data) - end:
        raise UnusableFileError("a damaged file")
    return np.frombuffer(data, kind, offset=end).reshape(shape, order="F" if order == "True" else "C")
