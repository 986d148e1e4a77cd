"""Tensors as a file stores them: bounds-checked views of its bytes, copied into arrays only on demand."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import CheckpointError

SAVE_AGAIN = "download the file again, or save it again where it was made"


class Reading:
    """One file being read: its name for messages, and what reading it may still cost.

    A few bytes of a pickle can ask for the same megabyte again and again; every pickle operation and every copied byte
    is paid for here, so that a file costs no more than a small multiple of its own size.
    """

    def __init__(self, subject: str, file_size: int) -> None:
        self.subject = subject
        # The largest public checkpoints, optimizer state included, take fewer than 100,000 operations.
        self._operations = 250_000
        # Twice the size for float16 that becomes float32, twice for the nested files of old pickles.
        self._bytes = 4 * file_size + (1 << 20)

    def error(self, got: str, *, expected: str, remedy: str = SAVE_AGAIN) -> CheckpointError:
        return CheckpointError(self.subject, got=got, expected=expected, remedy=remedy)

    def spend_operation(self) -> None:
        self._operations -= 1
        if self._operations < 0:
            raise self.error("a pickle of more than 250,000 operations", expected="a checkpoint of named tensors")

    def spend_bytes(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise self.error(
                "contents that expand to more than four times the file's size",
                expected="tensors that do not repeat each other's bytes",
            )


def clipped(value: object) -> str:
    """A value from a file as printable ASCII of bounded length; of anything nested only its type.

    The ``repr`` of tuples that hold each other may take exponential time.
    """
    if isinstance(value, str):
        return ascii(value if len(value) <= 100 else value[:97] + "...")
    return ascii(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Element:
    """A type of number; NumPy has no bfloat16, so its bits are held as uint16."""

    name: str
    numpy: np.dtype[np.generic]


_NUMPY_NAMES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
ELEMENTS = {
    **{name: Element(name, np.dtype(name).newbyteorder("<")) for name in _NUMPY_NAMES},
    "bfloat16": Element("bfloat16", np.dtype("<u2")),
}


class Storage:
    """A run of bytes that tensors are views of; old files announce its size before they hold its bytes."""

    def __init__(self, reading: Reading, element: Element, nbytes: int, data: memoryview | None = None) -> None:
        self.reading = reading
        self.element = element
        self.nbytes = nbytes
        self._data = data

    @property
    def filled(self) -> bool:
        return self._data is not None

    @property
    def data(self) -> memoryview:
        if self._data is None:
            raise self.reading.error("a storage without its bytes", expected="every storage that a tensor views")
        return self._data

    def fill(self, data: memoryview) -> None:
        if data.nbytes != self.nbytes:
            raise self.reading.error(
                f"a storage of {data.nbytes} bytes whose pickle claims {self.nbytes}", expected="equal sizes"
            )
        self._data = data


class StoredTensor:
    """A view of a storage; offset and strides in elements.

    Raises:
        CheckpointError: the view leaves its storage, overlaps itself or has negative sizes or strides.
    """

    def __init__(
        self, storage: Storage, offset: object, shape: object, strides: object, element: Element | None = None
    ) -> None:
        self.storage = storage
        self.element = element or storage.element
        self.shape = sizes(storage.reading, shape)
        self._strides = sizes(storage.reading, strides)
        (self._offset,) = sizes(storage.reading, (offset,))
        self._check_bounds()

    def _check_bounds(self) -> None:
        reading, size = self.storage.reading, prod(self.shape)
        if len(self.shape) != len(self._strides):
            raise reading.error("a tensor with more sizes than strides", expected="one stride for each size")
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self._strides, strict=True))
        end = (self._offset + last + 1) * self.element.numpy.itemsize if size else 0
        if end > self.storage.nbytes:
            raise reading.error(
                f"a tensor that ends at byte {end} of a storage of {self.storage.nbytes} bytes",
                expected="tensors that lie inside their storage",
            )
        if size and _overlaps(self.shape, self._strides):
            raise reading.error(
                f"a tensor of shape {list(self.shape)} whose strides {list(self._strides)} overlap",
                expected="tensors that hold each number once",
            )

    def array(self) -> NDArray[np.float32]:
        """A contiguous, writable float32 copy.

        Raises:
            CheckpointError: the tensor is empty or does not hold floating-point numbers.
        """
        reading = self.storage.reading
        if 0 in self.shape or "float" not in self.element.name:
            raise reading.error(
                f"a tensor of {self.element.name} {list(self.shape)} among the weights",
                expected="floating-point weights",
            )
        reading.spend_bytes(4 * prod(self.shape))
        itemsize = self.element.numpy.itemsize
        view: NDArray[Any] = np.ndarray(
            self.shape,
            self.element.numpy,
            self.storage.data,
            self._offset * itemsize,
            # The stride of a single element is free, and may be too large for NumPy.
            tuple(stride * itemsize if n > 1 else 0 for n, stride in zip(self.shape, self._strides, strict=True)),
        )
        if self.element.name == "bfloat16":
            return (view.astype(np.uint32) << 16).view(np.float32)
        # A float64 beyond float32 becomes inf, which validation refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(view, dtype=np.float32, order="C")


StoredTensors = dict[str, StoredTensor]


def sizes(reading: Reading, values: object) -> tuple[int, ...]:
    """``values`` as sizes; a pickle may hold anything in their place.

    Raises:
        CheckpointError: they are not a short run of numbers, none of them negative.
    """
    found = tuple(values) if isinstance(values, tuple | list) else (values,)
    if len(found) > 8 or not all(isinstance(n, int) and n >= 0 for n in found):
        raise reading.error(
            f"a tensor with the sizes, strides or offset ({', '.join(map(clipped, found[:8]))})",
            expected="at most eight numbers, none of them negative",
        )
    return found


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two indices may reach the same element: each stride has to step over all that smaller ones span."""
    span = 0
    for stride, n in sorted((stride, n) for stride, n in zip(strides, shape, strict=True) if n > 1):
        if stride <= span:
            return True
        span += (n - 1) * stride
    return False
