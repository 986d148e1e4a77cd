"""The compiled kernels of ``library.cpp``, called through ctypes."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_bool, c_float, c_int, c_int32, c_int64, c_long, c_void_p
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import EngineError
from engines.winograd.arrays import FloatArray, ScratchBuffer, address, aligned, round_up

SPIN_COUNT = "1000"
"""How often a waiting OpenMP thread polls before it sleeps. libgomp's default is 300,000, which occupies a core for
milliseconds that another engine or request needs. With 1000, four requests in flight give 6 % more pictures a second,
and a generator beside a program that keeps a core busy gains 12 %."""

InstructionSet = Literal["avx512vnni", "avx512", "avx2"]
"""What a library of kernels is compiled for, and its name; ``setup.py`` has the compiler's flags for each."""
INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("avx512vnni", "avx512", "avx2")
"""All instruction sets, the fastest first."""


class RawWeights(Structure):
    """A convolution's weights before their transform, and what selects the algorithm; ``params.h`` has the fields."""

    _fields_ = (
        ("size", c_int32),
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("taps", c_int32),
        ("stride", c_int32),
        ("up", c_int32),
        ("data", c_void_p),
        ("output_stride", c_int64),
        ("input_stride", c_int64),
    )


class ModulatedConvParams(Structure):
    """A modulated 3x3 convolution; the caller keeps the arrays alive whose addresses it holds."""

    _fields_ = (
        ("size", c_int32),
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("clamp", c_float),
        ("weights", c_void_p),
        ("style", c_void_p),
        ("demodulation", c_void_p),
        ("noise", c_void_p),
        ("bias", c_void_p),
        ("rgb_weight", c_void_p),
    )


class ConvParams(Structure):
    """A convolution of an encoder; the caller keeps the arrays alive whose addresses it holds."""

    _fields_ = (
        ("size", c_int32),
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("taps", c_int32),
        ("stride", c_int32),
        ("weights", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("gain", c_void_p),
        ("bias", c_void_p),
        ("slope", c_void_p),
    )


class BlockParams(Structure):
    """A synthesis block; ``up`` is all zeros in the lowest one, which has no up-convolution."""

    _fields_ = (("up", ModulatedConvParams), ("conv", ModulatedConvParams))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "runs_here": (c_bool, ()),
    "max_threads": (c_int, ()),
    "channel_multiple": (c_int, (c_bool,)),
    "point_count": (c_int, (POINTER(RawWeights),)),
    "transform_weights": (None, (c_bool, POINTER(RawWeights), c_void_p, c_void_p, c_int)),
    "block_scratch_size": (c_long, (c_bool, POINTER(BlockParams), c_int)),
    "run_block": (None, (c_bool, POINTER(BlockParams), c_void_p, c_void_p, c_void_p, c_void_p, c_int)),
    "convolution_scratch_size": (c_long, (c_bool, POINTER(ConvParams), c_int)),
    "convolve": (None, (c_bool, POINTER(ConvParams), c_void_p, c_void_p, c_void_p, c_int)),
    "channel_means": (None, (c_int, c_int, c_void_p, c_void_p, c_int)),
    "gate_and_add": (None, (c_int, c_int, c_void_p, c_int, c_void_p, c_void_p, c_int)),
    "add_upsampled": (None, (c_int, c_int, c_void_p, c_void_p, c_int)),
    "gemv": (None, (c_int, c_int, c_void_p, c_void_p, c_void_p, c_int)),
    "add_skip": (None, (c_int, c_void_p, c_float, c_void_p, c_void_p, c_int)),
    "rgb_to_uint8": (None, (c_int, c_void_p, c_void_p, c_int)),
}


def instruction_sets_here() -> tuple[InstructionSet, ...]:
    """Return the instruction sets that were compiled for and that this processor has, the fastest first."""
    return tuple(name for name in INSTRUCTION_SETS if (library := _library(name)) and library.toonify_runs_here())


class WinogradKernels:
    """The kernels for one instruction set, the number of their threads, and their scratch memory.

    With ``fixed_point``, convolutions multiply 16-bit integers and sum in 32 bits. Each tile's transformed input and
    each output channel's transformed weights are quantised with a scale of their own, from their norms, so that no sum
    can overflow.

    Attributes:
        channel_multiple: channels of every array are padded to a multiple of this.
    """

    def __init__(
        self, instruction_set: InstructionSet | None = None, threads: int = 0, *, fixed_point: bool = False
    ) -> None:
        """Load the kernels for ``instruction_set``, None for the fastest one; ``threads`` 0 takes every core.

        Raises:
            EngineError: the kernels were not compiled, or this processor does not run them.
        """
        here = instruction_sets_here()
        if not here or (instruction_set or here[0]) not in here:
            raise EngineError(
                "engine winograd",
                got=f"compiled kernels for {' and '.join(here) or 'no instruction set of this processor'}",
                expected=f"kernels for {instruction_set or ' or '.join(INSTRUCTION_SETS)}",
                remedy="install g++ and then this package again, or use another engine",
            )
        library = _library(instruction_set or here[0])
        assert library is not None
        self._library, self._threads = library, threads or library.toonify_max_threads()
        self._fixed_point = fixed_point
        self.channel_multiple: int = library.toonify_channel_multiple(fixed_point)
        self._scratch = ScratchBuffer()

    def transform_weights(
        self, weight: FloatArray, size: int, *, stride: int = 1, up: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Transform a weight [O, I, K, K] for the convolution of a feature map [size, size, I].

        The K x K taps must be contiguous; the strides of O and I are arbitrary.

        Returns:
            the weights as the kernels read them, O and I padded to ``channel_multiple``, and the scales [O] by which
            they are to be multiplied (all 1 in float32).
        """
        out_channels, in_channels, taps, _ = weight.shape
        raw = RawWeights(
            size=size,
            in_channels=in_channels,
            out_channels=out_channels,
            taps=taps,
            stride=stride,
            up=up,
            data=address(weight),
            output_stride=weight.strides[0] // weight.itemsize,
            input_stride=weight.strides[1] // weight.itemsize,
        )
        out_channels, in_channels = (round_up(count, self.channel_multiple) for count in (out_channels, in_channels))
        elements = in_channels // 2 if self._fixed_point else in_channels  # two int16 channels share 32 bits
        transformed = aligned((self._library.toonify_point_count(raw), out_channels, elements), zeros=False)
        scales = aligned((out_channels,))
        self._library.toonify_transform_weights(
            self._fixed_point, raw, address(transformed), address(scales), self._threads
        )
        return transformed, scales

    def run_block(self, block: BlockParams, x: FloatArray, y: FloatArray | None, rgb: FloatArray) -> None:
        """Run a synthesis block on x [H, W, I].

        Its feature map is written to y [H', W', O] unless that is None, toRGB's products to rgb [3, H', W'].
        """
        scratch = self._scratch_address(
            self._library.toonify_block_scratch_size(self._fixed_point, block, self._threads)
        )
        self._library.toonify_run_block(
            self._fixed_point, block, address(x), address(y), address(rgb), scratch, self._threads
        )

    def convolve(self, layer: ConvParams, x: FloatArray, y: FloatArray) -> None:
        """Convolve x [H, W, I] into y [H / stride, W / stride, O]."""
        scratch = self._scratch_address(
            self._library.toonify_convolution_scratch_size(self._fixed_point, layer, self._threads)
        )
        self._library.toonify_convolve(self._fixed_point, layer, address(x), address(y), scratch, self._threads)

    def _scratch_address(self, size: int) -> int | None:
        """Return the address of scratch memory for ``size`` floats, valid until the next call."""
        return address(self._scratch.array((size,)))

    def channel_means(self, x: FloatArray) -> FloatArray:
        """Return the mean of each channel: [H, W, C] -> [C]."""
        means = aligned(x.shape[-1:])
        channels = len(means)
        self._library.toonify_channel_means(x.size // channels, channels, address(x), address(means), self._threads)
        return means

    def gate_and_add(self, x: FloatArray, gates: FloatArray, shortcut: FloatArray, stride: int) -> None:
        """Multiply x [H, W, C] by gates [C] and add every ``stride``-th row and column of the map ``shortcut``."""
        self._library.toonify_gate_and_add(
            len(x), len(gates), address(gates), stride, address(shortcut), address(x), self._threads
        )

    def add_upsampled(self, x: FloatArray, y: FloatArray) -> None:
        """Add x [H, W, C], upsampled bilinearly with aligned corners, to y [2 H, 2 W, C]."""
        self._library.toonify_add_upsampled(len(x), x.shape[-1], address(x), address(y), self._threads)

    def gemv(self, matrix: FloatArray, vector: FloatArray) -> FloatArray:
        """Multiply a matrix by a vector, [R, C] [C] -> [R]; C is a multiple of ``channel_multiple``."""
        product = np.empty(len(matrix), np.float32)
        self._library.toonify_gemv(*matrix.shape, address(matrix), address(vector), address(product), self._threads)
        return product

    def add_skip(self, rgb: FloatArray, bias: FloatArray, clamp: float, lower: FloatArray | None) -> None:
        """Complete toRGB's output rgb [3, R, R]: add bias [3], clamp, add the image of the resolution below.

        That image, ``lower`` [3, R / 2, R / 2], is upsampled; the lowest resolution has None.
        """
        self._library.toonify_add_skip(len(rgb[0]), address(bias), clamp, address(lower), address(rgb), self._threads)

    def rgb_to_uint8(self, rgb: FloatArray) -> NDArray[np.uint8]:
        """Convert an image [3, R, R] of -1 to 1 to a picture [R, R, 3] of 0 to 255."""
        picture = np.empty((*rgb.shape[1:], 3), np.uint8)
        self._library.toonify_rgb_to_uint8(len(picture), address(rgb), picture.ctypes.data, self._threads)
        return picture


def _library(instruction_set: InstructionSet) -> ctypes.CDLL | None:
    specification = find_spec(f"engines.winograd.{instruction_set}")
    if specification is None or specification.origin is None:
        return None
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # libgomp reads it when it is loaded
    try:
        library = ctypes.CDLL(specification.origin)
    except OSError:  # compiled on another system: libgomp is missing here, or the C library differs
        return None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"toonify_{name}")
        function.restype, function.argtypes = result, arguments
    return library
