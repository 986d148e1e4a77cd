"""Arrays as the kernels take them: float32, aligned, made up to whole registers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray

FloatArray = NDArray[np.float32]

ALIGNMENT = 64
"""In bytes."""


def aligned(shape: tuple[int, ...], *, zeros: bool = True) -> FloatArray:
    """An array of zeros, or of whatever stands there, at an address that the kernels take."""
    count = int(np.prod(shape))
    buffer = (np.zeros if zeros else np.empty)(4 * count + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + 4 * count].view(np.float32).reshape(shape)


class Room:
    """Memory for one array at a time, which stays: new pages take their time at every call."""

    def __init__(self) -> None:
        self._memory = aligned((0,))

    def array(self, shape: tuple[int, ...]) -> FloatArray:
        """Whatever stands there; the arrays that were given before are no longer to be used."""
        count = int(np.prod(shape))
        if self._memory.size < count:
            self._memory = aligned((count,), zeros=False)
        return self._memory[:count].reshape(shape)


def made_up(count: int, lanes: int) -> int:
    """The next multiple of ``lanes``."""
    return -(-count // lanes) * lanes


def padded(array: AnyArray, *axes: int, lanes: int = 1) -> FloatArray:
    """An aligned copy in float32, with zeros at the ends of ``axes`` up to a multiple of ``lanes``."""
    shape = tuple(made_up(size, lanes) if axis in axes else size for axis, size in enumerate(array.shape))
    found = aligned(shape)
    found[tuple(slice(size) for size in array.shape)] = array
    return found


def address(array: FloatArray | None) -> int | None:
    """Where an array lies; None for none."""
    return None if array is None else array.ctypes.data
