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

from engines.kernels.reference import ACTIVATION_GAIN

DEMODULATION_EPSILON = 1e-8


@dataclass(frozen=True)
class ConvolutionWeight:
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
        return self.kernel.half().contiguous(memory_format=torch.channels_last)

    @property
    def half_merged(self) -> Tensor:
        """The kernel merged along rows, float16 [2 O, I, 3, 3], channels last: for ``conv_up``."""
        return merged_along_rows(self.kernel).half().contiguous(memory_format=torch.channels_last)


def convolution_weight(weight: Tensor) -> ConvolutionWeight:
    """From the raw float32 weight [O, I, 3, 3] of a network."""
    largest = weight.abs().amax((1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny)  # [O]
    # The equalised learning rate's gain 1 / sqrt(9 I) stays: it keeps the convolution's sums near 1.
    kernel = weight / (largest * sqrt(weight[0].numel()))[:, None, None, None]
    return ConvolutionWeight(
        kernel, kernel.square().sum((2, 3)).T.contiguous(), DEMODULATION_EPSILON / largest.square()
    )


def modulation(style: Tensor, weight: ConvolutionWeight) -> tuple[Tensor, Tensor]:
    """A layer's float32 style [N, I] -> its input's scale [N, I], and the demodulation [N, O] with the gain."""
    largest = style.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)  # [N, 1]
    style = style / largest
    epsilon = weight.epsilon / largest.square()
    return style, ACTIVATION_GAIN * torch.rsqrt(style.square() @ weight.squares + epsilon)


def merged_along_rows(kernel: Tensor) -> Tensor:
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
