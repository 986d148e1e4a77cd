"""A StyleGAN2 generator over the compiled kernels: one picture at a time, in float32.

Letters in shapes: L rows of W+, D width of w, I and O input and output channels (all three made up to multiples of the
kernels' lanes with zeros), H and W height and width, R resolution. Maps have their channels last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.graph.generator_weights import (
    AffineWeights,
    ExportedGeneratorWeights,
    ModulatedConvWeights,
    SynthesisBlockWeights,
)
from engines.winograd.arrays import FloatArray, Room, address, aligned, padded
from engines.winograd.library import Block, Kernels, Modulated

ACTIVATION_GAIN = np.sqrt(np.float32(2))
DEMODULATION_EPSILON = np.float32(1e-8)
UNBOUNDED = float(np.finfo(np.float32).max)


class WinogradGenerator:
    """(w, psi) -> image."""

    def __init__(self, weights: ExportedGeneratorWeights, kernels: Kernels) -> None:
        self._kernels = kernels
        self._w_avg = weights.w_avg
        self._constant = padded(weights.constant[0].transpose(1, 2, 0), 2, lanes=kernels.lanes)  # [4, 4, C]
        self._blocks = [SynthesisBlock(resolution, kernels) for resolution in weights.resolutions]
        self._maps = (Room(), Room())  # in turn: what a block reads and what it writes

    def __call__(self, w: FloatArray, psi: np.float32) -> NDArray[np.uint8]:  # [L, D] -> [R, R, 3]
        w = padded(self._w_avg + psi * (w - self._w_avg), 1, lanes=self._kernels.lanes)
        x, image = self._constant, None
        for index, block in enumerate(self._blocks):
            block.set_styles(w)
            # Nobody reads a map of the last block.
            y = None if block is self._blocks[-1] else self._maps[index % 2].array(block.map_shape)
            self._kernels.run_block(block.structure, x, y, block.rgb)
            self._kernels.add_below(block.rgb, block.rgb_bias, block.rgb_clamp, image)
            image = block.rgb
            x = x if y is None else y
        assert image is not None
        return self._kernels.quantised(image)


class SynthesisBlock:
    """A resolution's layers.

    Attributes:
        structure: what the kernels take.
        map_shape: of its output, [R, R, O].
        rgb: the picture up to this resolution, [3, R, R].
        rgb_bias: of toRGB, [3].
        rgb_clamp: of toRGB.
    """

    def __init__(self, resolution: SynthesisBlockWeights, kernels: Kernels) -> None:
        self._conv = _Layer(resolution.conv, kernels, up=False)
        self._up = None if resolution.up is None else _Layer(resolution.up, kernels, up=True)
        self._rgb_style = _Style(resolution.rgb.affine, kernels)
        self._rgb_weight = padded(resolution.rgb.weight, 1, lanes=kernels.lanes)
        self._rgb_products = aligned(self._rgb_weight.shape)  # weight times style, [3, O]
        self._conv.structure.rgb = address(self._rgb_products)
        self.structure = Block(Modulated() if self._up is None else self._up.structure, self._conv.structure)
        size = len(resolution.conv.noise)
        self.map_shape = (size, size, self._rgb_weight.shape[1])
        self.rgb = aligned((3, size, size))
        self.rgb_bias = padded(resolution.rgb.bias)
        self.rgb_clamp = _bound(resolution.rgb.clamp)

    def set_styles(self, w: FloatArray) -> None:  # [L, D]
        """Put what a picture's code makes of the weights where the kernels read it."""
        if self._up is not None:
            self._up.set_style(w)
        self._conv.set_style(w)
        np.multiply(self._rgb_weight, self._rgb_style(w), out=self._rgb_products)


class _Layer:
    """A modulated convolution, with its arrays and the structure that points at them."""

    def __init__(self, layer: ModulatedConvWeights, kernels: Kernels, *, up: bool) -> None:
        self._kernels, self._affine = kernels, _Style(layer.affine, kernels)
        size = len(layer.noise) // (2 if up else 1)
        self._transformed, self._units = kernels.transformed(layer.weight, size, up=up)
        # rsqrt((q + eps) / 2) = sqrt(2) rsqrt(q + eps): the activation's gain comes for free.
        squares = np.square(layer.weight).sum((2, 3)) / ACTIVATION_GAIN**2
        self._squares = padded(squares, 0, 1, lanes=kernels.lanes)  # [O, I]
        self._demodulation, self._style = (aligned((count,)) for count in self._squares.shape)
        self._noise, self._bias = padded(layer.noise), padded(layer.bias, 0, lanes=kernels.lanes)
        self.structure = Modulated(
            size=size,
            inputs=len(self._style),
            outputs=len(self._demodulation),
            clamp=_bound(layer.clamp),
            weights=address(self._transformed),
            style=address(self._style),
            demodulation=address(self._demodulation),
            noise=address(self._noise),
            bias=address(self._bias),
        )

    def set_style(self, w: FloatArray) -> None:  # [L, D]
        self._style[:] = self._affine(w)
        squares = self._kernels.product(self._squares, np.square(self._style))
        self._demodulation[:] = self._units / np.sqrt(squares + DEMODULATION_EPSILON / ACTIVATION_GAIN**2)


class _Style:
    """The affine map from a row of W+ to a style."""

    def __init__(self, affine: AffineWeights, kernels: Kernels) -> None:
        self._kernels, self._row = kernels, affine.row
        self._weight = padded(affine.weight, 0, 1, lanes=kernels.lanes)  # [I, D]
        self._bias = padded(affine.bias, 0, lanes=kernels.lanes)  # [I]

    def __call__(self, w: FloatArray) -> FloatArray:  # [L, D] -> [I]
        return self._kernels.product(self._weight, w[self._row]) + self._bias


def _bound(clamp: float | None) -> float:
    return UNBOUNDED if clamp is None else clamp
