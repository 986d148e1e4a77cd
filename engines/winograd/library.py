"""The compiled kernels through ctypes, as ``library.cpp`` offers them."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_bool, c_float, c_int, c_int32, c_int64, c_long, c_void_p
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import EngineError
from engines.winograd.arrays import FloatArray, Room, address, aligned, made_up

SPINS = "1000"
"""How often a waiting thread looks before it sleeps. By itself libgomp looks 300,000 times, which takes milliseconds of
a core that another engine or request needs: four requests in flight gain 6 % in pictures a second, a generator beside a
program that keeps a core busy 12 %."""

Target = Literal["avx512vnni", "avx512", "avx2"]
"""A kind of processor, and the library for it in this package, where there was a compiler at installation."""
TARGETS: tuple[Target, ...] = ("avx512vnni", "avx512", "avx2")
"""The faster one first."""


class Weights(Structure):
    """A convolution's weights as they come, and what its tiles are chosen by."""

    _fields_ = (
        ("size", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("taps", c_int32),
        ("stride", c_int32),
        ("up", c_int32),
        ("first", c_void_p),
        ("of_output", c_int64),
        ("of_input", c_int64),
    )


class Modulated(Structure):
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


class Convolution(Structure):
    """A convolution that is not modulated, likewise."""

    _fields_ = (
        ("size", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("taps", c_int32),
        ("stride", c_int32),
        ("weights", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("gain", c_void_p),
        ("bias", c_void_p),
        ("slope", c_void_p),
    )


class Block(Structure):
    """A synthesis block; ``up`` is all zeros in the lowest one."""

    _fields_ = (("up", Modulated), ("conv", Modulated))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "runs_here": (c_bool, ()),
    "threads": (c_int, ()),
    "channels": (c_int, (c_bool,)),
    "points": (c_int, (POINTER(Weights),)),
    "transform_weights": (None, (c_bool, POINTER(Weights), c_void_p, c_void_p, c_int)),
    "block_memory": (c_long, (c_bool, POINTER(Block), c_int)),
    "run_block": (None, (c_bool, POINTER(Block), c_void_p, c_void_p, c_void_p, c_void_p, c_int)),
    "convolution_memory": (c_long, (c_bool, POINTER(Convolution), c_int)),
    "convolve": (None, (c_bool, POINTER(Convolution), c_void_p, c_void_p, c_void_p, c_int)),
    "means": (None, (c_int, c_int, c_void_p, c_void_p, c_int)),
    "gate_and_add": (None, (c_int, c_int, c_void_p, c_int, c_void_p, c_void_p, c_int)),
    "add_doubled": (None, (c_int, c_int, c_void_p, c_void_p, c_int)),
    "multiply_vector": (None, (c_int, c_int, c_void_p, c_void_p, c_void_p, c_int)),
    "add_below": (None, (c_int, c_void_p, c_float, c_void_p, c_void_p, c_int)),
    "quantise": (None, (c_int, c_void_p, c_void_p, c_int)),
}


def targets_here() -> tuple[Target, ...]:
    """Those that were compiled and that this processor runs, the fastest first."""
    return tuple(target for target in TARGETS if (found := _library(target)) and found.toonify_runs_here())


class Kernels:
    """The kernels for one kind of processor, and the number of threads that they use.

    With ``fixed`` convolutions multiply numbers of 16 bits and sum in 32: a tile's transformed samples and an output's
    transformed weights have a scale each, from their norms, so that no sum can overflow.

    Attributes:
        lanes: channels come in multiples of these.
    """

    def __init__(self, target: Target | None = None, threads: int = 0, *, fixed: bool = False) -> None:
        """Take those for ``target``, None for the fastest; ``threads`` 0 takes every core; ``fixed`` for fixed point.

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
        self._library, self._threads, self._fixed = library, threads or library.toonify_threads(), fixed
        self.lanes: int = library.toonify_channels(fixed)
        self._memory = Room()

    def transformed(
        self, weight: FloatArray, size: int, *, stride: int = 1, up: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """A weight [O, I, K, K] as the convolution of a map of this size takes it, times [O].

        Channels are made up to multiples of the lanes. The taps of an input and an output must lie together.
        """
        outputs, inputs, taps, _ = weight.shape
        raw = Weights(
            size=size,
            inputs=inputs,
            outputs=outputs,
            taps=taps,
            stride=stride,
            up=up,
            first=address(weight),
            of_output=weight.strides[0] // weight.itemsize,
            of_input=weight.strides[1] // weight.itemsize,
        )
        outputs, inputs = (made_up(count, self.lanes) for count in (outputs, inputs))
        numbers = inputs // 2 if self._fixed else inputs
        found = aligned((self._library.toonify_points(raw), outputs, numbers), zeros=False)
        units = aligned((outputs,))
        self._library.toonify_transform_weights(self._fixed, raw, address(found), address(units), self._threads)
        return found, units

    def run_block(self, block: Block, x: FloatArray, y: FloatArray | None, rgb: FloatArray) -> None:
        """x [H, W, I] -> y [H', W', O] where one is wanted, and toRGB's products rgb [3, H', W']."""
        memory = self._memory_of(self._library.toonify_block_memory(self._fixed, block, self._threads))
        self._library.toonify_run_block(self._fixed, block, address(x), address(y), address(rgb), memory, self._threads)

    def convolve(self, layer: Convolution, x: FloatArray, y: FloatArray) -> None:
        """x [H, W, I] -> y [H / stride, W / stride, O]."""
        memory = self._memory_of(self._library.toonify_convolution_memory(self._fixed, layer, self._threads))
        self._library.toonify_convolve(self._fixed, layer, address(x), address(y), memory, self._threads)

    def _memory_of(self, count: int) -> int | None:
        """Where there is room for so many numbers, until the next call."""
        return address(self._memory.array((count,)))

    def means(self, x: FloatArray) -> FloatArray:
        """[H, W, C] -> [C]."""
        found = aligned(x.shape[-1:])
        self._library.toonify_means(x.size // len(found), len(found), address(x), address(found), self._threads)
        return found

    def gate_and_add(self, x: FloatArray, gates: FloatArray, added: FloatArray, stride: int) -> None:
        """Multiply x [H, W, C] by gates [C], and add to it each ``stride``-th row and column of a map."""
        self._library.toonify_gate_and_add(
            len(x), len(gates), address(gates), stride, address(added), address(x), self._threads
        )

    def add_doubled(self, x: FloatArray, y: FloatArray) -> None:
        """To y [2 H, 2 W, C] add x [H, W, C], upsampled bilinearly, corner on corner."""
        self._library.toonify_add_doubled(len(x), x.shape[-1], address(x), address(y), self._threads)

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


def _library(target: Target) -> ctypes.CDLL | None:
    specification = find_spec(f"engines.winograd.{target}")
    if specification is None or specification.origin is None:
        return None
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # libgomp reads it when it is loaded
    try:
        library = ctypes.CDLL(specification.origin)
    except OSError:  # compiled elsewhere: libgomp is missing here, or another C library is in its place
        return None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"toonify_{name}")
        function.restype, function.argtypes = result, arguments
    return library
