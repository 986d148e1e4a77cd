"""The kernels' formulas in plain PyTorch, against which tests and benchmarks compare the kernels.

Every function computes in the dtype of its map: in float64 it is the exact reference, in float16 the plain
half-precision version whose error the kernels must not exceed by more than a factor of 2.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from engines.kernels.operands import Activation
from engines.kernels.rgb import ToRgbOperands

ACTIVATION_GAIN = sqrt(2)
LEAKY_SLOPE = 0.2


def fir_filter(like: Tensor, channels: int) -> Tensor:
    """The low-pass filter [1,3,3,1] x [1,3,3,1] with the gain 4 of upsampling by 2, [channels, 1, 4, 4]."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=like.dtype, device=like.device)
    return (torch.outer(taps, taps) / 16).expand(channels, 1, 4, 4)


def tail(x: Tensor, activation: Activation, *, style: Tensor | None = None, up: bool = False) -> Tensor:
    """A convolution's tail; if ``up``, x is a transposed convolution's [N, O, H + 1, W + 1] and filtered first."""
    if up:
        x = functional.conv2d(x, fir_filter(x, x.shape[1]), padding=1, groups=x.shape[1])
    demodulation, noise, bias = (v.to(x) for v in (activation.demodulation, activation.noise, activation.bias))
    x = x * demodulation[:, :, None, None] + noise + bias[:, None, None]  # [N, O, H, W]
    x = clamped(functional.leaky_relu(x, LEAKY_SLOPE), activation.clamp)
    return x if style is None else x * style.to(x)[:, :, None, None]


def to_rgb(y: Tensor, rgb: ToRgbOperands) -> Tensor:
    """An activated map [N, O, H, W] -> the sum of the images up to its resolution, [N, 3, H, W]."""
    y = y * rgb.style.to(y)[:, :, None, None]
    colours = functional.conv2d(y, rgb.weight.to(y)[:, :, None, None]) + rgb.bias.to(y)[:, None, None]
    colours = clamped(colours, rgb.clamp)
    if rgb.skip is None:
        return colours
    skip = rgb.skip.to(y)
    return functional.conv_transpose2d(skip, fir_filter(skip, 3), stride=2, padding=1, groups=3) + colours


def convolve(x: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """The 3x3 convolution [N, I, H, W] -> [N, O, H, W], or the transposed one with stride 2, [N, O, 2H + 1, 2W + 1]."""
    weight = weight.to(x)
    if up:
        return functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return functional.conv2d(x, weight, padding=1)


def excitation(x: Tensor, mean: Tensor, squeeze: Tensor, excite: Tensor, shortcut: Tensor) -> Tensor:
    """The end of a residual unit, for the operands of the kernel of this name."""
    squeezed = functional.relu(mean.to(x).flatten(1) @ squeeze.to(x).T)
    gates = torch.sigmoid(squeezed @ excite.to(x))
    return torch.addcmul(shortcut.to(x), x, gates[:, :, None, None])


def picture(image: Tensor) -> Tensor:
    """[N, 3, R, R] in -1..1 -> uint8 [N, R, R, 3]: trunc(clamp(127.5 x + 128, 0, 255))."""
    return (image * 127.5 + 128).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """x clamped to +-bound, or x itself if there is no bound."""
    return x if bound is None else x.clamp(-bound, bound)
