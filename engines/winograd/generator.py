"""A StyleGAN2 generator in the compiled kernels: one picture at a time.

Letters in shapes: L rows of W+, D width of w, C, I and O channels (D, C, I and O zero-padded to a multiple of the
kernels' ``channel_multiple``), H and W height and width, R resolution. Feature maps are float32, channels last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray
from engines.graph.generator_weights import (
    AffineWeights,
    ExportedGeneratorWeights,
    ModulatedConvWeights,
    SynthesisBlockWeights,
)
from engines.winograd.arrays import FloatArray, ScratchBuffer, address, aligned, padded
from engines.winograd.library import BlockParams, ModulatedConvParams, WinogradKernels

ACTIVATION_GAIN = np.sqrt(np.float32(2))
DEMODULATION_EPSILON = np.float32(1e-8)
UNBOUNDED = float(np.finfo(np.float32).max)


class WinogradGenerator:
    """A generator as a function (w, psi) -> image."""

    def __init__(self, weights: ExportedGeneratorWeights, kernels: WinogradKernels) -> None:
        self._blocks = blocks_from_weights(weights, kernels)
        self._synthesis = Synthesis(weights.w_avg, self._blocks, kernels)

    def __call__(self, w: FloatArray, psi: np.float32) -> NDArray[np.uint8]:  # [L, D] -> [R, R, 3]
        return self._synthesis(self._blocks, w, psi)


def blocks_from_weights(weights: ExportedGeneratorWeights, kernels: WinogradKernels) -> list[SynthesisBlock]:
    """Transform a generator's weights, the lowest resolution first."""
    constants = [weights.constant, *[None] * (len(weights.resolutions) - 1)]
    parts = zip(weights.resolutions, constants, strict=True)
    return [SynthesisBlock(resolution, kernels, constant) for resolution, constant in parts]


class Synthesis:
    """The run of one block after the other, in memory for feature maps and images that all runs share."""

    def __init__(self, w_avg: AnyArray, blocks: Sequence[SynthesisBlock], kernels: WinogradKernels) -> None:
        """Allocate images for blocks of these sizes."""
        self._kernels, self._w_avg = kernels, w_avg
        self._images = [aligned(block.image_shape) for block in blocks]
        self._maps = (ScratchBuffer(), ScratchBuffer())  # blocks alternate: each reads one and writes the other

    def __call__(  # [L, D] -> [R, R, 3]
        self, blocks: Sequence[SynthesisBlock], w: FloatArray, psi: np.float32
    ) -> NDArray[np.uint8]:
        w = padded(self._w_avg + psi * (w - self._w_avg), 1, multiple=self._kernels.channel_multiple)
        x, lower = blocks[0].constant, None
        assert x is not None
        for index, (block, image) in enumerate(zip(blocks, self._images, strict=True)):
            block.set_styles(w)
            # No layer reads the last block's feature map.
            y = None if block is blocks[-1] else self._maps[index % 2].array(block.map_shape)
            self._kernels.run_block(block.params, x, y, image)
            self._kernels.add_skip(image, block.rgb_bias, block.rgb_clamp, lower)
            lower = image
            x = x if y is None else y
        return self._kernels.rgb_to_uint8(self._images[-1])


class SynthesisBlock:
    """The layers of one resolution.

    Attributes:
        params: the layers as the kernels take them.
        constant: the constant input [4, 4, C] of the lowest block; None in the others.
        map_shape: the output feature map's, [R, R, O].
        image_shape: that of the image up to this resolution, [3, R, R].
        rgb_bias: toRGB's bias, [3].
        rgb_clamp: toRGB's bound.
    """

    def __init__(
        self, resolution: SynthesisBlockWeights, kernels: WinogradKernels, constant: AnyArray | None = None
    ) -> None:
        """Transform the weights; ``constant`` [1, C, 4, 4] is the lowest block's input."""
        self.constant = None
        if constant is not None:
            self.constant = padded(constant[0].transpose(1, 2, 0), 2, multiple=kernels.channel_multiple)
        self._conv = _Layer(resolution.conv, kernels, up=False)
        self._up = None if resolution.up is None else _Layer(resolution.up, kernels, up=True)
        self._rgb_style = _Style(resolution.rgb.affine, kernels)
        self._rgb_weight = padded(resolution.rgb.weight, 1, multiple=kernels.channel_multiple)
        self._modulated_rgb_weight = aligned(self._rgb_weight.shape)  # [3, O]
        self._conv.params.rgb_weight = address(self._modulated_rgb_weight)
        self.params = BlockParams(ModulatedConvParams() if self._up is None else self._up.params, self._conv.params)
        size = len(resolution.conv.noise)
        self.map_shape = (size, size, self._rgb_weight.shape[1])
        self.image_shape = (3, size, size)
        self.rgb_bias = padded(resolution.rgb.bias)
        self.rgb_clamp = _clamp_or_unbounded(resolution.rgb.clamp)

    @property
    def nbytes(self) -> int:
        """The memory of the weights, in bytes."""
        layers = [layer for layer in (self._up, self._conv) if layer is not None]
        return self._rgb_weight.nbytes + self._rgb_style.nbytes + sum(layer.nbytes for layer in layers)

    def set_styles(self, w: FloatArray) -> None:  # [L, D]
        """Compute what depends on a picture's w: styles, demodulations and toRGB's modulated weight."""
        if self._up is not None:
            self._up.set_style(w)
        self._conv.set_style(w)
        np.multiply(self._rgb_weight, self._rgb_style(w), out=self._modulated_rgb_weight)


class _Layer:
    """A modulated convolution: its arrays, and ``params``, which holds their addresses."""

    def __init__(self, layer: ModulatedConvWeights, kernels: WinogradKernels, *, up: bool) -> None:
        self._kernels, self._affine = kernels, _Style(layer.affine, kernels)
        size = len(layer.noise) // (2 if up else 1)
        self._transformed, self._weight_scales = kernels.transform_weights(layer.weight, size, up=up)
        # rsqrt((q + eps) / 2) = sqrt(2) rsqrt(q + eps): the demodulation includes the activation's gain at no cost.
        squares = np.einsum("oihw,oihw->oi", layer.weight, layer.weight) / ACTIVATION_GAIN**2
        self._squares = padded(squares, 0, 1, multiple=kernels.channel_multiple)  # [O, I]
        self._demodulation, self._style = (aligned((count,)) for count in self._squares.shape)
        self._noise, self._bias = padded(layer.noise), padded(layer.bias, 0, multiple=kernels.channel_multiple)
        self.params = ModulatedConvParams(
            size=size,
            in_channels=len(self._style),
            out_channels=len(self._demodulation),
            clamp=_clamp_or_unbounded(layer.clamp),
            weights=address(self._transformed),
            style=address(self._style),
            demodulation=address(self._demodulation),
            noise=address(self._noise),
            bias=address(self._bias),
        )

    @property
    def nbytes(self) -> int:
        """The memory of the weights, in bytes."""
        return self._transformed.nbytes + self._squares.nbytes + self._noise.nbytes + self._affine.nbytes

    def set_style(self, w: FloatArray) -> None:  # [L, D]
        self._style[:] = self._affine(w)
        squares = self._kernels.gemv(self._squares, np.square(self._style))
        self._demodulation[:] = self._weight_scales / np.sqrt(squares + DEMODULATION_EPSILON / ACTIVATION_GAIN**2)


class _Style:
    """The affine map from a row of W+ to a style."""

    def __init__(self, affine: AffineWeights, kernels: WinogradKernels) -> None:
        self._kernels, self._row = kernels, affine.row
        self._weight = padded(affine.weight, 0, 1, multiple=kernels.channel_multiple)  # [I, D]
        self._bias = padded(affine.bias, 0, multiple=kernels.channel_multiple)  # [I]

    @property
    def nbytes(self) -> int:
        """The memory of the weights, in bytes."""
        return self._weight.nbytes + self._bias.nbytes

    def __call__(self, w: FloatArray) -> FloatArray:  # [L, D] -> [I]
        return self._kernels.gemv(self._weight, w[self._row]) + self._bias


def _clamp_or_unbounded(clamp: float | None) -> float:
    return UNBOUNDED if clamp is None else clamp
