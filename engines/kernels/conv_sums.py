"""A 3x3 convolution of a small map, each tap of its product by other blocks: nine sums, which ``to_rgb`` adds.

    sums[tap] = x shifted by the tap @ weight of the tap

A map of 4x4, 8x8 or 16x16 pixels is one or a few tiles of a convolution: a few multiprocessors would read all the
weights, one after another. With the taps divided, 512 channels make 144 blocks, one for each multiprocessor of an H100.
The sums are written once and read once by the kernel that follows, and each sample's blocks read the weights again: for
more pixels a library's convolution moves less.

The product's rows are up to 128 pixels, its columns 32 output channels, or 64 of more than 64 pixels, for the number of
blocks. Its depth is taken 32 channels at a time, since some assemblers spill with 64, in four stages or, of the larger
tiles, three, which take 24 or 36 KiB of shared memory.

Bytes: 2 read for each of N * I * H * W numbers and 9 * O * I weights, 4 written for each of 9 * N * O * H * W sums.
FLOPs: 18 * I * O per pixel.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels.device import padded_pixels, tap_weight
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import check_map, check_operand

TAPS = 9

MOST_PIXELS = 512
"""The most pixels of a batch of maps for which this is worth it: two of 16x16, or eight of 8x8.

By count (``benchmarks.gpu.launch_costs``), a library's convolution of 512 channels takes as long from 1024 pixels on.
"""


@jit
def _conv_sums(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    y_ptr: tl.tensor,
    CHANNELS_IN: tl.constexpr,
    CHANNELS_OUT: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
) -> None:
    n = tl.program_id(2).to(tl.int64)
    tap = tl.program_id(1) % 9
    pixel = tl.program_id(1) // 9 * BLOCK_P + tl.arange(0, BLOCK_P)
    row = pixel // WIDTH + tap // 3 - 1
    column = pixel % WIDTH + tap % 3 - 1
    channels = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    depth = tl.arange(0, BLOCK_I)
    x_ptr += n * HEIGHT * WIDTH * CHANNELS_IN

    total = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for first in range(0, CHANNELS_IN, BLOCK_I):
        i = first + depth
        x = padded_pixels(x_ptr, row, column, i, CHANNELS_IN, HEIGHT, WIDTH)
        total = tl.dot(x, tap_weight(weight_ptr, tap, i, channels, CHANNELS_IN, CHANNELS_OUT), total)

    y_ptr += (tap * tl.num_programs(2) + n) * HEIGHT * WIDTH * CHANNELS_OUT
    offset = pixel[:, None] * CHANNELS_OUT + channels[None, :]
    tl.store(y_ptr + offset, total, mask=(pixel < HEIGHT * WIDTH)[:, None] & (channels < CHANNELS_OUT)[None, :])


def conv_sums_spec(channels_in: int, channels_out: int, height: int, width: int) -> KernelSpec:
    """The launch for an output map [N, channels_out, height, width]."""
    block_p = next_power_of_two(height * width, minimum=16, maximum=128)
    block_o = 64 if block_p > 64 else 32
    return KernelSpec(
        kernel=_conv_sums,
        pointers={"x_ptr": torch.float16, "weight_ptr": torch.float16, "y_ptr": torch.float32},
        constants={
            "CHANNELS_IN": channels_in,
            "CHANNELS_OUT": channels_out,
            "HEIGHT": height,
            "WIDTH": width,
            "BLOCK_P": block_p,
            "BLOCK_I": next_power_of_two(channels_in, minimum=16, maximum=32),
            "BLOCK_O": block_o,
        },
        grid=(ceil_div(channels_out, block_o), TAPS * ceil_div(height * width, block_p)),
        stages=3 if block_p > 64 else 4,
    )


def conv_sums(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve, without adding the taps' sums.

    Args:
        x: the styled map, float16 [N, I, H, W], channels last.
        weight: float16 [O, I, 3, 3], channels last.

    Returns:
        float32 [9, N, H, W, O].

    Raises:
        EngineError: an operand does not fit.
    """
    pointers = {"x_ptr": check_map("x", x)}
    (batch, channels_in, height, width), channels = x.shape, len(weight)
    shape = (channels, channels_in, 3, 3)
    pointers["weight_ptr"] = check_operand("weight", weight, torch.float16, shape, torch.channels_last)
    spec = conv_sums_spec(channels_in, channels, height, width)
    sums = torch.empty((TAPS, batch, height, width, channels), dtype=torch.float32, device=x.device)
    pointers["y_ptr"] = sums
    spec.launch(batch, pointers)
    return sums
