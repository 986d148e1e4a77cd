"""Reader of ``.npy`` files of strangers: nothing in one is executed, and no memory is taken for what it only claims.

NumPy itself reads a header as a Python expression, which fails in many ways where the file is damaged.
"""

from __future__ import annotations

import re
from math import prod

import numpy as np

from engines.contract.arrays import AnyArray
from serving.file_contents import UnusableFileError

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]\w{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,9}L?, ?){0,8}(?:\d{1,9}L?)?)\), \} *\n?"
)
"""The header as NumPy writes it, in Python 2 too."""


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
