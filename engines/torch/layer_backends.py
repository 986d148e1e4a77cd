"""Back ends of a generator's layers: plain formulas on any device, or the fused kernels on a GPU.

A back end converts a convolution's weight to its own format, its kernel, and returns the function that computes the
layer with the kernel's memory, whose content may change afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engines.graph.style_weights import StyleWeights
from engines.kernels import reference
from engines.kernels.conv_rgb import MAX_CHANNELS_OUT, conv_rgb
from engines.kernels.conv_sums import MOST_PIXELS, conv_sums
from engines.kernels.conv_up import conv_up
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands
from engines.kernels.tail import tail
from engines.kernels.to_rgb import to_rgb
from engines.kernels.weights import NormalisedWeight
from engines.torch.styles import BatchedStyles, FusedStyles, StyleComputation

FUSED_FROM = 512
"""The lowest resolution whose convolutions use this package's kernels; below, arithmetic is the limit, not memory."""

UpsampleConv = Callable[[Tensor, Activation, Tensor], Tensor]
"""(styled map, activation, next style) -> the next convolution's input, at twice the size."""

ConvToRgb = Callable[[Tensor, Activation, ToRgbOperands], tuple[Tensor, Tensor | None]]
"""(styled map, activation, rgb) -> the image so far, and the next resolution's input if one follows."""


class LayerBackend(Protocol):
    """The source of functions for layers of output ``size``; ``dtype`` is that of maps and noise."""

    @property
    def dtype(self) -> torch.dtype: ...

    def styles(self, weights: StyleWeights, w_avg: Tensor) -> StyleComputation: ...

    def kernel(self, weight: NormalisedWeight, size: int, *, up: bool) -> Tensor:
        """Convert a weight for ``upsample_conv``, or for ``conv_to_rgb``."""
        ...

    def upsample_conv(self, kernel: Tensor, size: int) -> UpsampleConv: ...

    def conv_to_rgb(self, kernel: Tensor, size: int) -> ConvToRgb: ...


class ReferenceBackend:
    """A back end with the formulas of ``kernels.reference`` in one precision."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    def styles(self, weights: StyleWeights, w_avg: Tensor) -> StyleComputation:
        return BatchedStyles(weights, w_avg)

    def kernel(self, weight: NormalisedWeight, size: int, *, up: bool) -> Tensor:
        return weight.kernel

    def upsample_conv(self, kernel: Tensor, size: int) -> UpsampleConv:
        return partial(_reference_upsample_conv, kernel)

    def conv_to_rgb(self, kernel: Tensor, size: int) -> ConvToRgb:
        return partial(_reference_conv_to_rgb, kernel)


def _reference_upsample_conv(kernel: Tensor, x: Tensor, activation: Activation, style: Tensor) -> Tensor:
    return reference.tail(reference.convolve(x, kernel, up=True), activation, style=style, up=True)


def _reference_conv_to_rgb(
    kernel: Tensor, x: Tensor, activation: Activation, rgb: ToRgbOperands
) -> tuple[Tensor, Tensor | None]:
    y = reference.tail(reference.convolve(x, kernel), activation)
    image = reference.to_rgb(y, rgb)
    following = None if rgb.next_style is None else y * rgb.next_style.to(y)[:, :, None, None]
    return reference.picture(image) if rgb.quantised else image, following


class FusedBackend:
    """A back end with the fused kernels in float16.

    The kernels compute the styles and the tails of PyTorch's convolutions, and the convolutions too from the size
    ``fused_from`` on and, of those that do not double the size, for batches of up to ``MOST_PIXELS`` pixels.
    """

    dtype = torch.float16

    def __init__(self, fused_from: int = FUSED_FROM) -> None:
        self._fused_from = fused_from

    def styles(self, weights: StyleWeights, w_avg: Tensor) -> StyleComputation:
        return FusedStyles(weights, w_avg)

    def kernel(self, weight: NormalisedWeight, size: int, *, up: bool) -> Tensor:
        if not up:
            return weight.half
        if size >= self._fused_from:
            return weight.half_merged
        # Transposed once: cuDNN would convert a transposed view to channels_last at every call.
        return channels_last(weight.kernel.transpose(0, 1).half())

    def upsample_conv(self, kernel: Tensor, size: int) -> UpsampleConv:
        return partial(_fused_upsample_conv if size >= self._fused_from else _library_upsample_conv, kernel)

    def conv_to_rgb(self, kernel: Tensor, size: int) -> ConvToRgb:
        if size >= self._fused_from and len(kernel) <= MAX_CHANNELS_OUT:
            return partial(_fused_conv_to_rgb, kernel)
        return partial(_unfused_conv_to_rgb, kernel)


def _fused_upsample_conv(kernel: Tensor, x: Tensor, activation: Activation, style: Tensor) -> Tensor:
    return conv_up(x, kernel, activation, style)


def _fused_conv_to_rgb(
    kernel: Tensor, x: Tensor, activation: Activation, rgb: ToRgbOperands
) -> tuple[Tensor, Tensor | None]:
    return conv_rgb(x, kernel, activation, rgb)


def _unfused_conv_to_rgb(
    kernel: Tensor, x: Tensor, activation: Activation, rgb: ToRgbOperands
) -> tuple[Tensor, Tensor | None]:
    if x[:, 0].numel() <= MOST_PIXELS:
        return to_rgb(conv_sums(x, kernel), rgb, activation)
    return to_rgb(channels_last(functional.conv2d(x, kernel, padding=1)), rgb, activation)


def _library_upsample_conv(kernel: Tensor, x: Tensor, activation: Activation, style: Tensor) -> Tensor:
    doubled = functional.conv_transpose2d(x, kernel, stride=2)
    return tail(channels_last(doubled), activation, style=style, up=True)
