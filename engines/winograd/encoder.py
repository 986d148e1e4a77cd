"""A pSp or e4e encoder over the compiled kernels: one face at a time.

Maps are float32 [H, W, C], channels made up to multiples of the kernels' lanes with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import FACE_SIZE
from engines.graph.encoder_weights import (
    ConvWeights,
    ExportedEncoderWeights,
    FeatureLevel,
    ResidualUnitWeights,
    StyleHeadWeights,
)
from engines.winograd.arrays import FloatArray, Room, address, padded
from engines.winograd.library import Convolution, Kernels


class WinogradEncoder:
    """face -> w."""

    def __init__(self, weights: ExportedEncoderWeights, kernels: Kernels) -> None:
        self._kernels, self._offsets, self._latent_avg = kernels, weights.offsets, weights.latent_avg
        self._face = padded(np.zeros((FACE_SIZE, FACE_SIZE, 3)), 2, lanes=kernels.lanes)
        inner, outer = (Room(), Room()), (Room(), Room())  # within units and heads, and from one unit to the next
        self._stem = ConvolutionLayer(weights.stem, FACE_SIZE, kernels, outer[1])
        self._units: list[_Unit] = []
        size = FACE_SIZE
        for number, unit in enumerate(weights.units):
            self._units.append(_Unit(unit, size, kernels, inner, outer[number % 2]))
            size = self._units[-1].size
        sizes = {"coarse": size, "middle": 2 * size, "fine": 4 * size}
        self._laterals = {
            number: ConvolutionLayer(filters, self._units[number].size, kernels, Room())
            for number, filters in weights.laterals
        }
        self._heads = [_Head(head, sizes[head.level], kernels, inner) for head in weights.heads]

    def __call__(self, face: NDArray[np.uint8]) -> FloatArray:  # [S, S, 3] -> [L, D]
        self._face[..., :3] = face / np.float32(127.5) - 1
        levels = self._levels(self._stem(self._face))
        rows = np.stack([head(levels[head.level]) for head in self._heads])
        if self._offsets:
            rows[1:] += rows[0]
        codes: FloatArray = rows + self._latent_avg
        return codes

    def _levels(self, x: FloatArray) -> dict[FeatureLevel, FloatArray]:
        branches = []
        for number, unit in enumerate(self._units):
            x = unit(x)
            if lateral := self._laterals.get(number):
                branches.append(lateral(x))
        levels: dict[FeatureLevel, FloatArray] = {"coarse": x}
        names: tuple[FeatureLevel, ...] = ("middle", "fine")
        for name, branch in zip(names, reversed(branches), strict=False):
            self._kernels.add_doubled(x, branch)
            levels[name] = x = branch
        return levels


class _Unit:
    """A residual unit.

    Attributes:
        size: of its output.
    """

    def __init__(
        self, unit: ResidualUnitWeights, size: int, kernels: Kernels, inner: tuple[Room, Room], output: Room
    ) -> None:
        self._kernels, self._stride = kernels, unit.second.stride
        self._first = ConvolutionLayer(unit.first, size, kernels, inner[0])
        self._second = ConvolutionLayer(unit.second, size, kernels, output)
        self._squeeze, self._excite = (
            padded(matrix, 0, 1, lanes=kernels.lanes) for matrix in (unit.squeeze, unit.excite)
        )
        self._shortcut = None if unit.shortcut is None else ConvolutionLayer(unit.shortcut, size, kernels, inner[1])
        self.size = size // self._stride

    def __call__(self, x: FloatArray) -> FloatArray:
        y = self._second(self._first(x))
        squeezed = np.maximum(self._kernels.product(self._squeeze, self._kernels.means(y)), 0)
        gates = 1 / (1 + np.exp(-self._kernels.product(self._excite, padded(squeezed))))
        added, stride = (x, self._stride) if self._shortcut is None else (self._shortcut(x), 1)
        self._kernels.gate_and_add(y, padded(gates), added, stride)
        return y


class _Head:
    """A row's convolutions and its linear map."""

    def __init__(self, head: StyleHeadWeights, size: int, kernels: Kernels, inner: tuple[Room, Room]) -> None:
        self.level, self._kernels = head.level, kernels
        self._convolutions = []
        for number, filters in enumerate(head.convolutions):
            self._convolutions.append(ConvolutionLayer(filters, size, kernels, inner[number % 2]))
            size //= filters.stride
        self._weight, self._bias = padded(head.weight, 1, lanes=kernels.lanes), head.bias

    def __call__(self, x: FloatArray) -> FloatArray:  # [S, S, C] -> [D]
        for convolution in self._convolutions:
            x = convolution(x)
        row: FloatArray = self._kernels.product(self._weight, x[0, 0]) + self._bias
        return row


class ConvolutionLayer:
    """A convolution with its arrays, and the structure that points at them; what it gives is kept in ``room``."""

    def __init__(self, filters: ConvWeights, size: int, kernels: Kernels, room: Room) -> None:
        self._weights, self._gain = kernels.transformed(filters.weight, size, stride=filters.stride)
        self._scale, self._shift, self._bias, self._slope = (
            padded(array, 0, lanes=kernels.lanes)
            for array in (filters.scale, filters.shift, filters.bias, filters.slope)
        )
        self.structure = Convolution(
            size=size,
            inputs=len(self._scale),
            outputs=len(self._gain),
            taps=filters.weight.shape[-1],
            stride=filters.stride,
            weights=address(self._weights),
            scale=address(self._scale),
            shift=address(self._shift),
            gain=address(self._gain),
            bias=address(self._bias),
            slope=address(self._slope),
        )
        self._kernels, self._room = kernels, room
        self._shape = (size // filters.stride, size // filters.stride, len(self._gain))

    def __call__(self, x: FloatArray) -> FloatArray:  # [S, S, I] -> [S / stride, S / stride, O]
        y = self._room.array(self._shape)
        self._kernels.convolve(self.structure, x, y)
        return y
