"""Constants that stay in their ONNX file and are read when they are asked for.

A live generator's parameters are needed again only when a blend of fractions is made, but are as large as a third of
what its engine holds.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_constants import MIN_MAPPED_BYTES

_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
"""Numbers of the fields ModelProto.graph, GraphProto.initializer, TensorProto.name and TensorProto.raw_data."""

_VARINT, _LENGTH = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
"""Wire types of protobuf, and the bytes of those of fixed size."""


class StoredConstants(Mapping[str, AnyArray]):
    """The constants of an ONNX file; large ones are in memory only while they are used.

    The file is kept open, so that it may be replaced by another one of its name. It must not be written.
    """

    def __init__(self, path: Path, constants: Mapping[str, AnyArray]) -> None:
        """Keep what is small of ``constants``, which were read from the file ``path``, and where the rest lies."""
        self._path = path
        file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, file)
        self._file, self._state = file, _state(file)
        self._kept = dict(constants)
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        for name, (offset, size) in _raw_data(file).items():
            constant = constants.get(name)
            # Float32 in memory; what lies in a file of external weights is mapped and takes none.
            if constant is not None and constant.dtype == np.float32 and constant.nbytes == size >= MIN_MAPPED_BYTES:
                self._places[name] = offset, constant.shape
                del self._kept[name]

    def __getitem__(self, name: str) -> AnyArray:
        if name in self._kept:
            return self._kept[name]
        offset, shape = self._places[name]
        size = 4 * math.prod(shape)
        content = os.pread(self._file, size, offset)
        if len(content) != size or _state(self._file) != self._state:
            raise EngineError(
                self._path.name,
                got="a file that was written since it was loaded",
                expected="the same content as long as the model is used",
                remedy="load the model again, and replace files instead of writing into them",
            )
        return np.frombuffer(content, "<f4").reshape(shape)

    def __iter__(self) -> Iterator[str]:
        yield from self._kept
        yield from self._places

    def __len__(self) -> int:
        return len(self._kept) + len(self._places)


def _state(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_size, status.st_mtime_ns


def _raw_data(file: int) -> dict[str, tuple[int, int]]:
    """Find offset and size of the bytes of a file's constants, by their names."""
    places = {}
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        for graph in _fields(content, 0, len(content), _GRAPH):
            for tensor in _fields(content, *graph, _INITIALIZER):
                names = [content[start:end].decode() for start, end in _fields(content, *tensor, _NAME)]
                for start, end in _fields(content, *tensor, _RAW_DATA):
                    places[names[-1] if names else ""] = start, end - start
    return places


def _fields(content: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of a message's fields of one number; protobuf has parsed the message before."""
    while start < end:
        key, start = _varint(content, start)
        kind = key & 7
        if kind == _VARINT:
            _, start = _varint(content, start)
        else:
            size, start = (_FIXED_SIZES[kind], start) if kind in _FIXED_SIZES else _varint(content, start)
            if kind == _LENGTH and key >> 3 == wanted:
                yield start, start + size
            start += size


def _varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    """Return a number and where the next field or its content begins."""
    value = shift = 0
    while True:
        byte = content[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start
