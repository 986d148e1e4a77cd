"""The compiled kernels through ctypes, as ``library.cpp`` offers them."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_bool, c_float, c_int, c_int32, c_long, c_void_p
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.errors import EngineError

ALIGNMENT = 64
"""Of arrays, in bytes."""

SPINS = "1000"
"""How often a waiting thread looks before it sleeps. By itself libgomp looks 300,000 times, which takes milliseconds of
a core that another engine or request needs: four requests in flight gain 6 % in pictures a second, a generator beside a
program that keeps a core busy 12 %."""

Target = Literal["avx512", "avx2"]
"""A kind of processor, and the library for it in this package, where there was a compiler at installation."""
TARGETS: tuple[Target, ...] = ("avx512", "avx2")
"""The faster one first."""

FloatArray = NDArray[np.float32]


class Layer(Structure):
    """A modulated 3x3 convolution; the arrays that it points at must be kept alive."""

    _fields_ = (
        ("size", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("clamp", c_float),
        ("weights", c_void_p),
        ("style", c_void_p),
        ("demodulation", c_void_p),
        ("noise", c_void_p),
        ("bias", c_void_p),
        ("rgb", c_void_p),
    )


class Block(Structure):
    """A synthesis block; ``up`` is all zeros in the lowest one."""

    _fields_ = (("up", Layer), ("conv", Layer))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "runs_here": (c_bool, ()),
    "threads": (c_int, ()),
    "lanes": (c_int, ()),
    "points": (c_int, (c_bool, c_int)),
    "transform_weights": (None, (c_bool, c_int, c_int, c_int, c_void_p, c_void_p)),
    "block_memory": (c_long, (POINTER(Block), c_int)),
    "run_block": (None, (POINTER(Block), c_void_p, c_void_p, c_void_p, c_void_p, c_int)),
    "multiply_vector": (None, (c_int, c_int, c_void_p, c_void_p, c_void_p, c_int)),
    "add_below": (None, (c_int, c_void_p, c_float, c_void_p, c_void_p, c_int)),
    "quantise": (None, (c_int, c_void_p, c_void_p, c_int)),
}


def targets_here() -> tuple[Target, ...]:
    """Those that were compiled and that this processor runs, the fastest first."""
    return tuple(target for target in TARGETS if (found := _library(target)) and found.toonify_runs_here())


class Kernels:
    """The kernels for one kind of processor, and the number of threads that they use.

    Attributes:
        lanes: channels come in multiples of these.
    """

    def __init__(self, target: Target | None = None, threads: int = 0) -> None:
        """Take those for ``target``, None for the fastest; ``threads`` 0 takes every core.

        Raises:
            EngineError: they were not compiled, or this processor does not run them.
        """
        here = targets_here()
        if not here or (target or here[0]) not in here:
            raise EngineError(
                "engine winograd",
                got=f"kernels for {' and '.join(here) or 'no processor like this one'}",
                expected=f"some for {target or ' or '.join(TARGETS)}",
                remedy="install g++ and then this package again, or use another engine",
            )
        library = _library(target or here[0])
        assert library is not None
        self._library, self._threads = library, threads or library.toonify_threads()
        self.lanes: int = library.toonify_lanes()

    def transformed(self, weight: FloatArray, size: int, *, up: bool) -> FloatArray:
        """A weight [O, I, 3, 3] of the block that gives pictures of this size -> [points, O / lanes, I, lanes]."""
        outputs, inputs = weight.shape[:2]
        found = aligned((self._library.toonify_points(up, size), outputs // self.lanes, inputs, self.lanes))
        self._library.toonify_transform_weights(up, size, inputs, outputs, address(weight), address(found))
        return found

    def memory_for(self, block: Block) -> int:
        """How many numbers ``run_block`` needs beside its inputs and outputs."""
        return int(self._library.toonify_block_memory(block, self._threads))

    def run_block(self, block: Block, x: FloatArray, y: FloatArray | None, rgb: FloatArray, memory: FloatArray) -> None:
        """x [H, W, I] -> y [H', W', O] where one is wanted, and toRGB's products rgb [3, H', W']."""
        self._library.toonify_run_block(block, address(x), address(y), address(rgb), address(memory), self._threads)

    def product(self, matrix: FloatArray, vector: FloatArray) -> FloatArray:
        """[R, C] [C] -> [R], C a multiple of the lanes."""
        found = np.empty(len(matrix), np.float32)
        self._library.toonify_multiply_vector(
            *matrix.shape, address(matrix), address(vector), address(found), self._threads
        )
        return found

    def add_below(self, rgb: FloatArray, bias: FloatArray, clamp: float, below: FloatArray | None) -> None:
        """To rgb [3, R, R] add bias [3], clamp it, and add the picture below [3, R / 2, R / 2], upsampled."""
        self._library.toonify_add_below(len(rgb[0]), address(bias), clamp, address(below), address(rgb), self._threads)

    def quantised(self, rgb: FloatArray) -> NDArray[np.uint8]:
        """[3, R, R], -1 to 1 -> levels [R, R, 3]."""
        picture = np.empty((*rgb.shape[1:], 3), np.uint8)
        self._library.toonify_quantise(len(picture), address(rgb), picture.ctypes.data, self._threads)
        return picture


def aligned(shape: tuple[int, ...]) -> FloatArray:
    """An array of zeros at an address that the kernels take."""
    count = int(np.prod(shape))
    buffer = np.zeros(4 * count + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + 4 * count].view(np.float32).reshape(shape)


def address(array: FloatArray | None) -> int | None:
    """Where an array lies; None for none."""
    return None if array is None else array.ctypes.data


def _library(target: Target) -> ctypes.CDLL | None:
    specification = find_spec(f"engines.winograd.{target}")
    if specification is None or specification.origin is None:
        return None
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # libgomp reads it when it is loaded
    library = ctypes.CDLL(specification.origin)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"toonify_{name}")
        function.restype, function.argtypes = result, arguments
    return library
