"""Files of codes in W+, which stand for faces: ``.npz`` as this package writes them, and other projects' ``.npy``.

A file is checked before memory is taken for what it claims to hold, and nothing in it is executed: NumPy's pickled
objects are refused.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray, Codes
from engines.contract.atomic import atomic_file
from engines.contract.errors import RequestError

CODE_SUFFIXES = frozenset({".npz", ".npy"})

MAX_BYTES = 64 * 2**20
"""Codes of 1800 faces of 18 rows of 512."""

_MAX_MEMBERS = 100
"""Most arrays in an ``.npz``; each entry of its directory costs memory before any array is read."""

_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"
_ZIP_MEMBER = b"PK\x01\x02"
_NAMES = ("w", "codes", "latents", "projected_w")
"""The names under which an ``.npz`` may hold its codes beside other arrays; the last one is NVIDIA's projector's."""

_HEADER = re.compile(
    rb"\{'descr': '([<>|=]\w{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,9}L?, ?){0,8}(?:\d{1,9}L?)?)\), \} *\n?"
)
"""The header as NumPy writes it, which NumPy itself reads as a Python expression."""


class _UnusableError(Exception):
    """Why a file cannot be used, in a few words."""


def is_code_file(path: Path) -> bool:
    """Return whether a path's suffix is that of a file of codes."""
    return path.suffix.lower() in CODE_SUFFIXES


def read_codes(path: Path) -> Codes:
    """Read a file of codes: float32 [N, L, D].

    An ``.npz`` holds one array, or one called "w"; an ``.npy`` is the array. It may be one code [L, D], several
    [N, L, D], or several [N, 1, L, D] or [N, L, D] in float16, float32 or float64.

    Raises:
        RequestError: the file is missing, too large, damaged, or holds something else.
    """
    with _in_one_sentence(str(path)):
        return _codes(_array(_bytes_of(path)))


def codes_from_bytes(data: bytes, name: str) -> Codes:
    """Read the bytes of a file of codes as ``read_codes`` does; ``name`` stands for it in errors.

    Raises:
        RequestError: the bytes are too many, damaged, or hold something else.
    """
    with _in_one_sentence(name):
        return _codes(_array(_checked_size(data)))


def write_codes(path: Path, w: Codes, *, force: bool = False) -> None:
    """Write codes [N, L, D] as ``.npz``; the file appears whole or not at all.

    Raises:
        ExportError: the file exists and ``force`` is false, or cannot be written.
    """
    with atomic_file(path, force=force) as partial, partial.open("wb") as file:
        np.savez(file, w=w)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device has no size, and no end
    except OSError as error:
        raise _UnusableError(error.strerror or "an unreadable file") from None
    return _checked_size(data)


def _checked_size(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise _UnusableError(f"more than {MAX_BYTES // 2**20} MiB")
    return data


@contextmanager
def _in_one_sentence(name: str) -> Iterator[None]:
    """Within the block, an _UnusableError becomes a RequestError about the file ``name``."""
    try:
        yield
    except _UnusableError as error:
        raise RequestError(
            name,
            got=str(error),
            expected=f"codes [N, rows, width] as numbers in .npz or .npy, of at most {MAX_BYTES // 2**20} MiB",
            remedy="give a file of toonify-export project, or save the array with numpy.savez(FILE, w=codes)",
        ) from None


def _array(data: bytes) -> AnyArray:
    return _npy(_member(data) if data.startswith(_ZIP) else data)


def _member(data: bytes) -> bytes:
    """Return the array in an ``.npz``, which may be compressed."""
    if data.count(_ZIP_MEMBER) > _MAX_MEMBERS:
        raise _UnusableError(f"more than {_MAX_MEMBERS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_name_in(archive)) as member:
            content = member.read(MAX_BYTES + 1)
    # What zipfile and zlib raise about damaged files; RuntimeError is zipfile's about encrypted ones.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        raise _UnusableError("a damaged file") from None
    if len(content) > MAX_BYTES:
        raise _UnusableError(f"an array of more than {MAX_BYTES // 2**20} MiB")
    return content


def _name_in(archive: zipfile.ZipFile) -> str:
    """Return the name of the member that holds the codes."""
    names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    chosen = next((name for name in _NAMES if name in names), next(iter(names), ""))
    if not names or (len(names) > 1 and chosen not in _NAMES):
        raise _UnusableError(f"{len(names)} arrays, none of them called {' or '.join(_NAMES)}")
    return names[chosen]


def _npy(data: bytes) -> AnyArray:
    """Read an ``.npy``: magic, version, length of the header, header, numbers."""
    if not data.startswith(_NPY):
        raise _UnusableError("a file of another format")
    length, start = (data[8:10], 10) if data[6:7] == b"\x01" else (data[8:12], 12)
    end = start + int.from_bytes(length, "little")
    header = _HEADER.fullmatch(data[start:end])
    if header is None:
        raise _UnusableError("a damaged file, or one that NumPy did not write")
    kind, order, sizes = (group.decode() for group in header.groups())
    if kind[1:] not in ("f2", "f4", "f8"):
        raise _UnusableError("Python objects, which are not read" if "O" in kind else f"numbers of the type {kind}")
    shape = [int(size) for size in sizes.replace("L", "").split(",") if size.strip()]
    # Compared first, so that no memory is taken for what a header only claims.
    if prod(shape) * int(kind[2:]) != len(data) - end:
        raise _UnusableError("a damaged file")
    return np.frombuffer(data, kind, offset=end).reshape(shape, order="F" if order == "True" else "C")


def _codes(array: AnyArray) -> Codes:
    shape = array.shape
    if array.ndim == 4 and 1 in shape[:2]:
        array = array.reshape(-1, *shape[2:])
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise _UnusableError(f"an array of shape {list(shape)[:8]}")
    with np.errstate(over="ignore"):
        codes = array.astype(np.float32)
    if not np.isfinite(codes).all():
        raise _UnusableError("NaN, infinity or numbers beyond float32")
    return codes
