"""Files of codes in W+, which stand for faces: ``.npz`` as this package writes them, and other projects' ``.npy``.

A file is checked before memory is taken for what it claims to hold, and nothing in it is executed: NumPy's pickled
objects are refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray, Codes
from engines.contract.atomic import atomic_file
from engines.contract.errors import RequestError
from serving.file_contents import UnusableFileError, checked_size, file_content
from serving.npy_arrays import array_from_npy

CODE_SUFFIXES = frozenset({".npz", ".npy"})

MAX_BYTES = 64 * 2**20
"""Codes of 1800 faces of 18 rows of 512."""

_MAX_MEMBERS = 100
"""Most arrays in an ``.npz``; each entry of its directory costs memory before any array is read."""

_ZIP, _ZIP_MEMBER = b"PK\x03\x04", b"PK\x01\x02"
_NAMES = ("w", "codes", "latents", "projected_w")
"""The names under which an ``.npz`` may hold its codes beside other arrays; the last one is NVIDIA's projector's."""


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
        return _codes(_array(file_content(path, MAX_BYTES)))


def codes_from_bytes(data: bytes, name: str) -> Codes:
    """Read the bytes of a file of codes as ``read_codes`` does; ``name`` stands for it in errors.

    Raises:
        RequestError: the bytes are too many, damaged, or hold something else.
    """
    with _in_one_sentence(name):
        return _codes(_array(checked_size(data, MAX_BYTES)))


def write_codes(path: Path, w: Codes, *, force: bool = False) -> None:
    """Write codes [N, L, D] as ``.npz``; the file appears whole or not at all.

    Raises:
        ExportError: the file exists and ``force`` is false, or cannot be written.
    """
    with atomic_file(path, force=force) as partial, partial.open("wb") as file:
        np.savez(file, w=w)


@contextmanager
def _in_one_sentence(name: str) -> Iterator[None]:
    """Within the block, an UnusableFileError becomes a RequestError about the file ``name``."""
    try:
        yield
    except UnusableFileError as error:
        raise RequestError(
            name,
            got=error.why,
            expected=f"codes [N, rows, width] as numbers in .npz or .npy, of at most {MAX_BYTES // 2**20} MiB",
            remedy="give a file of toonify-export project, or save the array with numpy.savez(FILE, w=codes)",
        ) from None


def _array(data: bytes) -> AnyArray:
    return array_from_npy(_member(data) if data.startswith(_ZIP) else data)


def _member(data: bytes) -> bytes:
    """Return the array in an ``.npz``, which may be compressed."""
    if data.count(_ZIP_MEMBER) > _MAX_MEMBERS:
        raise UnusableFileError(f"more than {_MAX_MEMBERS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_member_of(archive)) as member:
            content = member.read(MAX_BYTES + 1)
    # What zipfile and zlib raise about damaged files; RuntimeError is zipfile's about encrypted ones.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        raise UnusableFileError("a damaged file") from None
    if len(content) > MAX_BYTES:
        raise UnusableFileError(f"an array of more than {MAX_BYTES // 2**20} MiB")
    return content


def _member_of(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the member that holds the codes."""
    arrays = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}
    chosen = next((name for name in _NAMES if name in arrays), next(iter(arrays), ""))
    if not arrays or (len(arrays) > 1 and chosen not in _NAMES):
        raise UnusableFileError(f"{len(arrays)} arrays, none of them called {' or '.join(_NAMES)}")
    # NumPy writes no other compressions, each of which has errors of its own.
    if arrays[chosen].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnusableFileError("an array in a compression that NumPy does not write")
    return arrays[chosen]


def _codes(array: AnyArray) -> Codes:
    shape = array.shape
    if array.ndim == 4 and 1 in shape[:2]:
        array = array.reshape(-1, *shape[2:])
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise UnusableFileError(f"an array of shape {list(shape)}")
    with np.errstate(over="ignore"):
        codes = array.astype(np.float32)
    if not np.isfinite(codes).all():
        raise UnusableFileError("NaN, infinity or numbers beyond float32")
    return codes
