"""The constants of an ONNX file as arrays; nothing is believed about sizes before the bytes are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError

MIN_MAPPED_BYTES = 2**20
"""The size in bytes from which constants are memory-mapped instead of read: engines convert large weights anyway, and a
second copy of a gigabyte takes time. Smaller constants may be kept as they are without keeping a file open."""

MAX_NAME = 255
"""Characters of a file's name; file systems raise errors about longer ones."""

MAX_OFFSET_DIGITS = 18
"""Longer offsets lie beyond every file, and Python converts long ones slowly or not at all."""

MAX_AXES, MAX_NUMBERS = 8, 2**40
"""Axes of a constant, of which exported ones have up to 4, and numbers: NumPy raises errors about shapes beyond its
limits, also where an axis of size 0 makes the array empty."""

_ELEMENTS: dict[int, tuple[str, str]] = {
    TensorProto.FLOAT: ("<f4", "float_data"),
    TensorProto.DOUBLE: ("<f8", "double_data"),
    TensorProto.INT64: ("<i8", "int64_data"),
    TensorProto.INT32: ("<i4", "int32_data"),
    TensorProto.UINT8: ("u1", "int32_data"),
    TensorProto.BOOL: ("?", "int32_data"),
    TensorProto.FLOAT16: ("<f2", ""),
}
"""The NumPy type of each element type that is read, and the field of numbers that are not stored as bytes."""


def read_constant(tensor: TensorProto, model: Path) -> AnyArray:
    """Read a constant of the file ``model``, from the file itself or from the file of external weights beside it.

    Raises:
        EngineError: its type is not read, its shape is impossible, or its bytes are missing, too many or not readable.
    """
    if tensor.data_type not in _ELEMENTS or not _is_shape(tensor.dims) or tensor.HasField("segment"):
        shape = f"{[*tensor.dims[:MAX_AXES]]}"
        raise _error(model, f"the constant {tensor.name!r:.100} of type {tensor.data_type} and shape {shape}")
    if tensor.data_location == TensorProto.EXTERNAL:
        try:
            return _external_data(tensor, model)
        except OSError:
            raise _error(model, f"external weights of {tensor.name!r:.100} that cannot be read") from None
    element, field = _ELEMENTS[tensor.data_type]
    numbers = _from_bytes(tensor.raw_data, np.dtype(element)) if tensor.HasField("raw_data") else _field(tensor, field)
    if numbers.size != math.prod(tensor.dims):
        raise _error(model, f"{numbers.size} numbers for the constant {tensor.name!r:.100} of shape {[*tensor.dims]}")
    return numbers.astype(element, copy=False).reshape(tuple(tensor.dims))


def _is_shape(sizes: Sequence[int]) -> bool:
    if len(sizes) > MAX_AXES or any(size < 0 for size in sizes):
        return False
    return math.prod(max(size, 1) for size in sizes) <= MAX_NUMBERS


def _from_bytes(content: bytes, element: np.dtype[np.generic]) -> AnyArray:
    return np.frombuffer(content[: len(content) // element.itemsize * element.itemsize], element)


def _field(tensor: TensorProto, field: str) -> AnyArray:
    return np.array(getattr(tensor, field) if field else [])


def _external_data(tensor: TensorProto, model: Path) -> AnyArray:
    # Not read by onnx, which refuses hard-linked files: a Triton repository consists of them.
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, offset = entries.get("location", ""), _offset(entries.get("offset", "0"))
    if not _is_file_name(location) or offset is None:
        raise _error(model, f"external weights at {entries.get('offset', '0')[:20]!r} of {location[:100]!r}")
    path, shape = model.parent / location, tuple(tensor.dims)
    dtype, count = np.dtype(_ELEMENTS[tensor.data_type][0]), math.prod(tensor.dims)
    available = max(path.stat().st_size - offset, 0) // dtype.itemsize if path.is_file() else 0
    if available < count:
        raise EngineError(
            str(path),
            got=f"{available} of the {count} numbers of {tensor.name}" if path.is_file() else "no such file",
            expected="the weights that belong to the model",
            remedy="copy the model directory again or export it again",
        )
    if count * dtype.itemsize < MIN_MAPPED_BYTES:
        return np.fromfile(path, dtype, count, offset=offset).reshape(shape)
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))


def _is_file_name(location: str) -> bool:
    return 0 < len(location) <= MAX_NAME and Path(location).name == location and "\0" not in location


def _offset(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_OFFSET_DIGITS else None


def _error(model: Path, got: str) -> EngineError:
    return EngineError(
        str(model), got=got, expected="constants as toonify-export writes them", remedy="export the model again"
    )
