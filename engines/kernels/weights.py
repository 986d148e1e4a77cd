"""Weights and styles normalised so that they and the convolution's sums stay within the range of float16.

Both are divided by their largest magnitude, the weight per output channel and the style per sample. Demodulation
cancels these factors, and its epsilon is scaled with them, so that the result is that of StyleGAN2 (arXiv 1912.04958,
equations 1 to 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from engines.kernels.operands import channels_last
from engines.kernels.reference import ACTIVATION_GAIN

DEMODULATION_EPSILON = 1e-8

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class NormalisedWeight:
    """A modulated convolution's weight, divided by its largest magnitudes.

    Attributes:
        kernel: float32 [O, I, 3, 3]; the largest magnitude of each output channel is 1 / sqrt(9 I).
        squares: the kernel's squares summed over its taps, float32 [I, O].
        epsilon: demodulation's epsilon for this kernel, float32 [O].
    """

    kernel: Tensor
    squares: Tensor
    epsilon: Tensor

    @property
    def half(self) -> Tensor:
        """The kernel in float16 [O, I, 3, 3], channels last, for an ordinary convolution and for ``conv_rgb``."""
        return channels_last(self.kernel.half())

    @property
    def half_merged(self) -> Tensor:
        """The kernel with the FIR filter merged along rows, float16 [2 O, I, 3, 3], channels last, for ``conv_up``."""
        return channels_last(merge_fir_along_rows(self.kernel).half())


def normalise_weight(weight: Tensor) -> NormalisedWeight:
    """Normalise a float32 weight [O, I, 3, 3], which includes the gain of the equalised learning rate."""
    # The largest magnitude becomes 1 / sqrt(9 I) instead of 1, which keeps the convolution's sums near 1.
    divisor = sqrt(weight[0].numel()) * weight.abs().amax((1, 2, 3)).clamp_min(_TINY)  # [O]
    kernel = weight / divisor[:, None, None, None]
    squares = kernel.square().sum((2, 3)).T.contiguous()
    return NormalisedWeight(kernel, squares, DEMODULATION_EPSILON / divisor.square())


def modulation(style: Tensor, squares: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """The input scale and the demodulation of one layer, or of K layers stacked along a leading axis of all shapes.

    Args:
        style: float32 [N, I].
        squares: ``NormalisedWeight.squares``, [I, O].
        epsilon: ``NormalisedWeight.epsilon``, [O]; [K, 1, O] for stacked layers.

    Returns:
        The scale of the layer's input [N, I], and the demodulation [N, O] including the activation's gain.
    """
    largest = style.abs().amax(-1, keepdim=True).clamp_min(_TINY)  # [N, 1]
    style = style / largest
    return style, ACTIVATION_GAIN * torch.rsqrt(style.square() @ squares + epsilon / largest.square())


def merge_fir_along_rows(kernel: Tensor) -> Tensor:
    """Merge a transposed convolution of stride 2 with the FIR filter [1,3,3,1] / 4 after it, along the rows only.

    Along a row, the two are one 3-tap convolution whose output channels are those of the even columns, then the odd.

    Args:
        kernel: [O, I, 3, 3], as ``conv_transpose2d`` takes it transposed.

    Returns:
        [2 O, I, 3, 3]: the first spatial axis still is a transposed convolution's, the second an ordinary one's.
    """
    channels_out, channels_in, _, _ = kernel.shape
    merged = kernel.new_zeros((channels_out, channels_in, 3, 6))
    for tap, gain in enumerate((0.25, 0.75, 0.75, 0.25)):
        merged[..., tap : tap + 3] += gain * kernel
    # The 6 taps alternate between the even and the odd columns, and run from the right neighbour to the left one.
    phases = merged.reshape(channels_out, channels_in, 3, 3, 2).flip(3)
    return phases.permute(4, 0, 1, 2, 3).reshape(2 * channels_out, channels_in, 3, 3)
