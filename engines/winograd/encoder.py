"""An encoder in the compiled kernels: one face at a time.

Letters in shapes: S height and width, C, I and O channels, zero-padded to a multiple of the kernels'
``channel_multiple``, L rows of W+, D width of w. Feature maps are float32 [S, S, C].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import FACE_SIZE
from engines.graph.encoder_weights import (
    LATERAL_LEVELS,
    ConvWeights,
    ExportedEncoderWeights,
    FeatureLevel,
    PooledHead,
    ResidualUnitWeights,
    StyleHeads,
    StyleHeadWeights,
)
from engines.winograd.arrays import FloatArray, ScratchBuffer, address, padded
from engines.winograd.library import ConvParams, WinogradKernels


class WinogradEncoder:
    """An encoder as a function face -> w.

    Residuals and style heads whose weights are 0 are not computed: the first stages of e4e's progressive training leave
    most heads so, and a small encoder need not use all units of its trunk.
    """

    def __init__(self, weights: ExportedEncoderWeights, kernels: WinogradKernels) -> None:
        self._latent_avg = weights.latent_avg
        self._face = padded(np.zeros((FACE_SIZE, FACE_SIZE, 3)), 2, multiple=kernels.channel_multiple)
        inner = (ScratchBuffer(), ScratchBuffer())  # maps within a unit or a head
        outer = cycle((ScratchBuffer(), ScratchBuffer()))  # layers alternate: each reads one and writes the other
        self._stem = ConvolutionLayer(weights.stem, FACE_SIZE, kernels, next(outer))
        self._units: list[Callable[[FloatArray], FloatArray]] = []
        sizes = [FACE_SIZE]
        for unit in weights.units:
            self._units.append(_unit_layer(unit, sizes[-1], kernels, inner, outer))
            sizes.append(sizes[-1] // unit.stride)
        self._head: _StyleHeads | _PooledHead
        match weights.head:
            case StyleHeads() as heads:
                self._head = _StyleHeads(heads, sizes[1:], kernels, inner)
            case head:
                self._head = _PooledHead(head, self._latent_avg.shape[1], kernels)

    def __call__(self, face: NDArray[np.uint8]) -> FloatArray:  # [S, S, 3] -> [L, D]
        self._face[..., :3] = face / np.float32(127.5) - 1
        x = self._stem(self._face)
        branches = []
        for number, unit in enumerate(self._units):
            x = unit(x)
            if lateral := self._head.laterals.get(number):
                branches.append(lateral(x))
        codes: FloatArray = self._head.codes(x, branches) + self._latent_avg
        return codes


def _unit_layer(
    unit: ResidualUnitWeights,
    size: int,
    kernels: WinogradKernels,
    inner: tuple[ScratchBuffer, ScratchBuffer],
    outputs: Iterator[ScratchBuffer],
) -> Callable[[FloatArray], FloatArray]:
    """Return a unit, or its shortcut alone if its residual is 0; a layer that writes a map takes an output."""
    if unit.second.weight.any() or unit.second.bias.any():
        return _Unit(unit, size, kernels, inner, next(outputs))
    if unit.shortcut is not None:
        return ConvolutionLayer(unit.shortcut, size, kernels, next(outputs))
    if unit.stride == 1:
        return _unchanged
    return _Subsampling(unit.stride, next(outputs))


def _unchanged(x: FloatArray) -> FloatArray:
    return x


class _Subsampling:
    """Every ``stride``-th pixel of a map."""

    def __init__(self, stride: int, output: ScratchBuffer) -> None:
        self._stride, self._output = stride, output

    def __call__(self, x: FloatArray) -> FloatArray:  # [S, S, C] -> [S / stride, S / stride, C]
        chosen = x[:: self._stride, :: self._stride]
        y = self._output.array(chosen.shape)
        y[:] = chosen
        return y


class _Unit:
    """A residual unit with squeeze and excitation."""

    def __init__(
        self,
        unit: ResidualUnitWeights,
        size: int,
        kernels: WinogradKernels,
        inner: tuple[ScratchBuffer, ScratchBuffer],
        output: ScratchBuffer,
    ) -> None:
        self._kernels, self._stride = kernels, unit.second.stride
        self._first = ConvolutionLayer(unit.first, size, kernels, inner[0])
        self._second = ConvolutionLayer(unit.second, size, kernels, output)
        self._squeeze, self._excite = (
            padded(matrix, 0, 1, multiple=kernels.channel_multiple) for matrix in (unit.squeeze, unit.excite)
        )
        self._shortcut = None if unit.shortcut is None else ConvolutionLayer(unit.shortcut, size, kernels, inner[1])

    def __call__(self, x: FloatArray) -> FloatArray:
        y = self._second(self._first(x))
        squeezed = np.maximum(self._kernels.gemv(self._squeeze, self._kernels.channel_means(y)), 0)
        gates = 1 / (1 + np.exp(-self._kernels.gemv(self._excite, padded(squeezed))))
        shortcut, stride = (x, self._stride) if self._shortcut is None else (self._shortcut(x), 1)
        self._kernels.gate_and_add(y, padded(gates), shortcut, stride)
        return y


class _StyleHeads:
    """The style heads, each for one row of W+, and the pyramid that they read."""

    def __init__(
        self,
        weights: StyleHeads,
        sizes: Sequence[int],
        kernels: WinogradKernels,
        inner: tuple[ScratchBuffer, ScratchBuffer],
    ) -> None:
        self._kernels, self._offsets = kernels, weights.offsets
        level_sizes = {"coarse": sizes[-1], "middle": 2 * sizes[-1], "fine": 4 * sizes[-1]}
        self._biases = np.stack([head.bias for head in weights.heads])
        self._heads = {
            row: _Head(head, level_sizes[head.level], kernels, inner)
            for row, head in enumerate(weights.heads)
            if head.weight.any()
        }
        levels = {head.level for head in self._heads.values()}
        needed = max((number for number, name in enumerate(LATERAL_LEVELS, 1) if name in levels), default=0)
        self.laterals = {
            number: ConvolutionLayer(filters, sizes[number], kernels, ScratchBuffer())
            for number, filters in weights.laterals[:needed]
        }

    def codes(self, x: FloatArray, branches: Sequence[FloatArray]) -> FloatArray:  # [S, S, C] -> [L, D]
        levels: dict[FeatureLevel, FloatArray] = {"coarse": x}
        for name, branch in zip(LATERAL_LEVELS, reversed(branches), strict=False):
            self._kernels.add_upsampled(x, branch)
            levels[name] = x = branch
        rows: FloatArray = self._biases.copy()
        for row, head in self._heads.items():
            rows[row] = head(levels[head.level])
        if self._offsets:
            rows[1:] += rows[0]
        return rows


class _PooledHead:
    """The linear layers that give all rows of W+ from means of the last map."""

    def __init__(self, head: PooledHead, w_dim: int, kernels: WinogradKernels) -> None:
        self.laterals: Mapping[int, ConvolutionLayer] = {}
        self._means, self._w_dim, self._kernels = head.means, w_dim, kernels
        weight = padded(head.weight.transpose(0, 2, 3, 1), 3, multiple=kernels.channel_multiple)
        self._weight, self._bias = weight.reshape(len(weight), -1), head.bias
        self._rows = None
        if head.rows is not None:
            rows, bias = head.rows
            self._rows = padded(rows, 1, multiple=kernels.channel_multiple), bias

    def codes(self, x: FloatArray, _: Sequence[FloatArray]) -> FloatArray:  # [S, S, C] -> [1, D] or [L, D]
        pooled = np.tensordot(self._means, self._means @ x, 1)
        code: FloatArray = self._kernels.gemv(self._weight, padded(pooled.reshape(-1))) + self._bias
        if self._rows is None:
            return code[None]
        weight, bias = self._rows
        rows: FloatArray = self._kernels.gemv(weight, padded(code, 0, multiple=self._kernels.channel_multiple)) + bias
        return rows.reshape(-1, self._w_dim)


class _Head:
    """The convolutions and the linear layer that give one row of W+."""

    def __init__(
        self, head: StyleHeadWeights, size: int, kernels: WinogradKernels, inner: tuple[ScratchBuffer, ScratchBuffer]
    ) -> None:
        self.level, self._kernels = head.level, kernels
        self._convolutions = []
        for number, filters in enumerate(head.convolutions):
            self._convolutions.append(ConvolutionLayer(filters, size, kernels, inner[number % 2]))
            size //= filters.stride
        self._weight, self._bias = padded(head.weight, 1, multiple=kernels.channel_multiple), head.bias

    def __call__(self, x: FloatArray) -> FloatArray:  # [S, S, C] -> [D]
        for convolution in self._convolutions:
            x = convolution(x)
        row: FloatArray = self._kernels.gemv(self._weight, x[0, 0]) + self._bias
        return row


class ConvolutionLayer:
    """A convolution: its arrays, and ``params``, which holds their addresses. Its output is written to ``output``."""

    def __init__(self, filters: ConvWeights, size: int, kernels: WinogradKernels, output: ScratchBuffer) -> None:
        self._weights, self._gain = kernels.transform_weights(filters.weight, size, stride=filters.stride)
        self._scale, self._shift, self._bias, self._slope = (
            padded(array, 0, multiple=kernels.channel_multiple)
            for array in (filters.scale, filters.shift, filters.bias, filters.slope)
        )
        self.params = ConvParams(
            size=size,
            in_channels=len(self._scale),
            out_channels=len(self._gain),
            taps=filters.weight.shape[-1],
            stride=filters.stride,
            weights=address(self._weights),
            scale=address(self._scale),
            shift=address(self._shift),
            gain=address(self._gain),
            bias=address(self._bias),
            slope=address(self._slope),
        )
        self._kernels, self._output = kernels, output
        self._shape = (size // filters.stride, size // filters.stride, len(self._gain))

    def __call__(self, x: FloatArray) -> FloatArray:  # [S, S, I] -> [S / stride, S / stride, O]
        y = self._output.array(self._shape)
        self._kernels.convolve(self.params, x, y)
        return y
