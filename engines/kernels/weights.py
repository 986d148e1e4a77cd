"""A network's weights and styles as the kernels take them: in half precision, without leaving its range.

Both are divided by their largest value first, the weight per output channel and the style per sample. Demodulation
divides by the same factors again, so that the result is StyleGAN2's own (arXiv 1912.04958, equations 1 to 3), the
epsilon scaled with them.
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
    """A modulated convolution's weight.

    Attributes:
        kernel: float32 [O, I, 3, 3]; the largest magnitude of each output channel is 1 / sqrt(9 I).
        squares: float32 [I, O], the kernel's squares summed up over its taps.
        epsilon: float32 [O], demodulation's for this kernel.
    """

    kernel: Tensor
    squares: Tensor
    epsilon: Tensor

    @property
    def half(self) -> Tensor:
        """The kernel in float16, channels last: for an ordinary convolution and for ``conv_rgb``."""
        return channels_last(self.kernel.half())

    @property
    def half_merged(self) -> Tensor:
        """The kernel merged along rows, float16 [2 O, I, 3, 3], channels last: for ``conv_up``."""
        return channels_last(merge_fir_along_rows(self.kernel).half())


def normalise_weight(weight: Tensor) -> NormalisedWeight:
    """From a network's float32 weight [O, I, 3, 3], with its equalised learning rate's gain."""
    # Divided to 1 / sqrt(9 I) instead of 1: it keeps the convolution's sums near 1.
    divisor = sqrt(weight[0].numel()) * weight.abs().amax((1, 2, 3)).clamp_min(_TINY)  # [O]
    kernel = weight / divisor[:, None, None, None]
    squares = kernel.square().sum((2, 3)).T.contiguous()
    return NormalisedWeight(kernel, squares, DEMODULATION_EPSILON / divisor.square())


def modulation(style: Tensor, squares: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """What a float32 style makes of a weight; of one layer, or of K layers stacked in front of all shapes.

    Args:
        style: [N, I].
        squares: a ``NormalisedWeight``'s, [I, O].
        epsilon: a ``NormalisedWeight``'s, [O]; [K, 1, O] where layers are stacked.

    Returns:
        The scale of the layer's input [N, I], and the demodulation [N, O] with the activation's gain.
    """
    largest = style.abs().amax(-1, keepdim=True).clamp_min(_TINY)  # [N, 1]
    style = style / largest
    return style, ACTIVATION_GAIN * torch.rsqrt(style.square() @ squares + epsilon / largest.square())


def merge_fir_along_rows(kernel: Tensor) -> Tensor:
    """A transposed convolution of stride 2 and the FIR filter [1,3,3,1] / 4 behind it, along the rows only.

    Along a row, the two are one 3-tap convolution with the output channels of the even columns, then those of the odd.

    Args:
        kernel: [O, I, 3, 3], as ``conv_transpose2d`` takes it transposed.

    Returns:
        [2 O, I, 3, 3]: the first spatial axis is still the transposed convolution's, the second an ordinary one's.
    """
    channels_out, channels_in, _, _ = kernel.shape
    merged = kernel.new_zeros((channels_out, channels_in, 3, 6))
    for tap, gain in enumerate((0.25, 0.75, 0.75, 0.25)):
        merged[..., tap : tap + 3] += gain * kernel
    # The 6 taps belong to the even and the odd columns in turn, and go from the right neighbour to the left one.
    phases = merged.reshape(channels_out, channels_in, 3, 3, 2).flip(3)
    return phases.permute(4, 0, 1, 2, 3).reshape(2 * channels_out, channels_in, 3, 3)
