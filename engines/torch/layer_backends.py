"""How a generator's layers are computed: by plain formulas anywhere, or by the fused kernels on a GPU.

A convolution's weight is brought into its pass's form once; what is returned is called for every batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engines.kernels import reference
from engines.kernels.conv_rgb import MAX_CHANNELS_OUT, conv_rgb
from engines.kernels.conv_up import conv_up
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands
from engines.kernels.tail import tail
from engines.kernels.to_rgb import to_rgb
from engines.kernels.weights import NormalisedWeight

FUSED_FROM = 512
"""The lowest resolution whose convolutions are kernels of this package: below, arithmetic is the limit, not memory."""

UpsampleConv = Callable[[Tensor, Activation, Tensor], Tensor]
"""(styled map, activation, next style) -> the next convolution's input, of twice the size."""

ConvToRgb = Callable[[Tensor, Activation, ToRgbOperands], tuple[Tensor, Tensor | None]]
"""(styled map, activation, rgb) -> the image so far, and the next resolution's input where one follows."""


class LayerBackend(Protocol):
    """Where layers of output ``size`` get their passes from; ``dtype`` is that of maps and noise."""

    @property
    def dtype(self) -> torch.dtype: ...

    def upsample_conv(self, weight: NormalisedWeight, size: int) -> UpsampleConv: ...

    def conv_to_rgb(self, weight: NormalisedWeight, size: int) -> ConvToRgb: ...


class ReferenceBackend:
    """The formulas of ``kernels.reference`` in one precision."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    def upsample_conv(self, weight: NormalisedWeight, size: int) -> UpsampleConv:
        return partial(_reference_upsample_conv, weight.kernel)

    def conv_to_rgb(self, weight: NormalisedWeight, size: int) -> ConvToRgb:
        return partial(_reference_conv_to_rgb, weight.kernel)


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
    """The fused kernels, float16: behind PyTorch's convolutions, or from the size ``fused_from`` on with their own."""

    dtype = torch.float16

    def __init__(self, fused_from: int = FUSED_FROM) -> None:
        self._fused_from = fused_from

    def upsample_conv(self, weight: NormalisedWeight, size: int) -> UpsampleConv:
        if size >= self._fused_from:
            return partial(_fused_upsample_conv, weight.half_merged)
        # Transposed here: cuDNN would bring a transposed view into channels_last at every call.
        return partial(_library_upsample_conv, channels_last(weight.kernel.transpose(0, 1).half()))

    def conv_to_rgb(self, weight: NormalisedWeight, size: int) -> ConvToRgb:
        fused = size >= self._fused_from and len(weight.kernel) <= MAX_CHANNELS_OUT
        return partial(_fused_conv_to_rgb if fused else _library_conv_to_rgb, weight.half)


def _fused_upsample_conv(kernel: Tensor, x: Tensor, activation: Activation, style: Tensor) -> Tensor:
    return conv_up(x, kernel, activation, style)


def _fused_conv_to_rgb(
    kernel: Tensor, x: Tensor, activation: Activation, rgb: ToRgbOperands
) -> tuple[Tensor, Tensor | None]:
    return conv_rgb(x, kernel, activation, rgb)


def _library_upsample_conv(kernel: Tensor, x: Tensor, activation: Activation, style: Tensor) -> Tensor:
    doubled = functional.conv_transpose2d(x, kernel, stride=2)
    return tail(channels_last(doubled), activation, style=style, up=True)


def _library_conv_to_rgb(
    kernel: Tensor, x: Tensor, activation: Activation, rgb: ToRgbOperands
) -> tuple[Tensor, Tensor | None]:
    return to_rgb(channels_last(functional.conv2d(x, kernel, padding=1)), rgb, activation)
