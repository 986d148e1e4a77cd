"""Tensors as stored in a file: bounds-checked views of its bytes, copied into arrays only on demand."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from sys import getsizeof
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import CheckpointError

ENTRY_BYTES = 200
"""A copied entry of a dict, list, tuple or set takes at most 200 bytes, if it is a number that becomes a key."""

SAVE_AGAIN = "download the file again, or save it again where it was made"


class ReadContext:
    """The file that is being read: its name for error messages, and the remaining read budget.

    A few bytes of a pickle can copy the same megabyte again and again. Every pickle operation and every copied byte is
    therefore charged to a budget, so that a file costs no more than a small multiple of its own size. What is copied
    once for each of the file's own bytes, such as the arguments of its opcodes, is free.
    """

    def __init__(self, subject: str, file_size: int) -> None:
        self.subject = subject
        self.file_size = file_size
        # The largest public checkpoints, optimizer state included, need fewer than 100,000 operations.
        self._operations = 250_000
        # A factor of two for float16 that becomes float32, and another for the nested files of old pickles. Shapes,
        # names and options of a whole training run need less than 4 MiB.
        self._bytes = 4 * file_size + (16 << 20)

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

    def spend_entries(self, count: int) -> None:
        """Pay for a copy of so many entries of a dict, or for a look at each; a file can name one dict many times."""
        self.spend_bytes(ENTRY_BYTES * count)

    def joined(self, prefix: str, name: str) -> str:
        """Return the name of an entry in a nested dict, after paying for its characters."""
        self.spend_bytes(getsizeof(prefix) + getsizeof(name))
        return prefix + name


def clipped(value: object) -> str:
    """Return a value from a file as printable ASCII of bounded length; for a nested value, only its type.

    The ``repr`` of tuples that contain each other may take exponential time.
    """
    if isinstance(value, str):
        return ascii(value if len(value) <= 100 else value[:97] + "...")
    return ascii(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Element:
    """A number type; NumPy has no bfloat16, so its bits are held as uint16."""

    name: str
    numpy: np.dtype[np.generic]


_NUMPY_NAMES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
ELEMENTS = {
    **{name: Element(name, np.dtype(name).newbyteorder("<")) for name in _NUMPY_NAMES},
    "bfloat16": Element("bfloat16", np.dtype("<u2")),
}


class Storage:
    """A run of bytes that tensors are views of; legacy files state its size before its bytes."""

    def __init__(self, context: ReadContext, element: Element, nbytes: int, data: memoryview | None = None) -> None:
        self.context = context
        self.element = element
        self.nbytes = nbytes
        self._data = data

    @property
    def filled(self) -> bool:
        return self._data is not None

    @property
    def data(self) -> memoryview:
        if self._data is None:
            raise self.context.error("a storage without its bytes", expected="every storage that a tensor views")
        return self._data

    def fill(self, data: memoryview) -> None:
        if data.nbytes != self.nbytes:
            raise self.context.error(
                f"a storage of {data.nbytes} bytes whose pickle claims {self.nbytes}", expected="equal sizes"
            )
        self._data = data


class StoredTensor:
    """A view of a storage; offset and strides in elements.

    ``converted`` states whether ``array`` was called: a reader has used the tensor.

    Raises:
        CheckpointError: the view leaves its storage, overlaps itself or has negative sizes or strides.
    """

    def __init__(
        self, storage: Storage, offset: object, shape: object, strides: object, element: Element | None = None
    ) -> None:
        self.converted = False
        self.storage = storage
        self.element = element or storage.element
        self.shape = checked_sizes(storage.context, shape)
        self._strides = checked_sizes(storage.context, strides)
        (self._offset,) = checked_sizes(storage.context, (offset,))
        self._check_bounds()

    def _check_bounds(self) -> None:
        context, size = self.storage.context, prod(self.shape)
        if len(self.shape) != len(self._strides):
            raise context.error(
                f"a tensor with {len(self.shape)} sizes and {len(self._strides)} strides",
                expected="one stride for each size",
            )
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self._strides, strict=True))
        end = (self._offset + last + 1) * self.element.numpy.itemsize if size else 0
        if end > self.storage.nbytes:
            raise context.error(
                f"a tensor that ends at byte {end} of a storage of {self.storage.nbytes} bytes",
                expected="tensors that lie inside their storage",
            )
        if size and _overlaps(self.shape, self._strides):
            raise context.error(
                f"a tensor of shape {list(self.shape)} whose strides {list(self._strides)} overlap",
                expected="tensors that hold each number once",
            )

    def array(self) -> NDArray[np.float32]:
        """Return a contiguous, writable float32 copy.

        Raises:
            CheckpointError: the tensor is empty or does not hold floating-point numbers.
        """
        context = self.storage.context
        if 0 in self.shape or "float" not in self.element.name:
            raise context.error(
                f"a tensor of {self.element.name} {list(self.shape)} among the weights",
                expected="floating-point weights",
            )
        context.spend_bytes(4 * prod(self.shape))
        self.converted = True
        itemsize = self.element.numpy.itemsize
        view: NDArray[Any] = np.ndarray(
            self.shape,
            self.element.numpy,
            self.storage.data,
            self._offset * itemsize,
            # The stride of an axis of length 1 is arbitrary, and may be too large for NumPy.
            tuple(stride * itemsize if n > 1 else 0 for n, stride in zip(self.shape, self._strides, strict=True)),
        )
        if self.element.name == "bfloat16":
            return (view.astype(np.uint32) << 16).view(np.float32)
        # A float64 beyond float32's range becomes inf, which validation refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(view, dtype=np.float32, order="C")


StoredTensors = dict[str, StoredTensor]


def scalar_tensor(context: ReadContext, value: float) -> StoredTensor:
    """Return a number of a file as a float32 tensor of shape []."""
    data = memoryview(np.array(value, "<f4").tobytes())
    return StoredTensor(Storage(context, ELEMENTS["float32"], data.nbytes, data), 0, (), ())


def checked_sizes(context: ReadContext, values: object) -> tuple[int, ...]:
    """Return ``values`` as sizes; a pickle may hold anything in their place.

    Raises:
        CheckpointError: ``values`` are more than eight, or one of them is negative or not an integer.
    """
    checked = tuple(values) if isinstance(values, tuple | list) else (values,)
    if len(checked) > 8 or not all(isinstance(n, int) and n >= 0 for n in checked):
        raise context.error(
            f"a tensor with the sizes, strides or offset ({', '.join(map(clipped, checked[:8]))})",
            expected="at most eight numbers, none of them negative",
        )
    return checked


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether two indices may reach the same element: each stride must exceed the span of all smaller ones."""
    span = 0
    for stride, n in sorted((stride, n) for stride, n in zip(strides, shape, strict=True) if n > 1):
        if stride <= span:
            return True
        span += (n - 1) * stride
    return False
