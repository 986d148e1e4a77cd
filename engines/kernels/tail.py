"""A convolution's tail in one pass: y = clamp(leaky_relu(F(x) * demodulation + noise + bias)) * style.

F is the FIR filter after an up-convolution and the identity after others; ``style`` is the next convolution's. A block
holds BLOCK_W columns of BLOCK_C channels and walks down ROWS rows. F is separable: each input row is filtered along
itself once, and the last three filtered rows stay in registers for the filter along the columns.

Bytes: 2 read and 2 written for each of N * C * H * W numbers, and 2 read for each of H * W noise values.
FLOPs: 6 per number, and 14 more for F.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels.device import activate
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import ACTIVATION_POINTERS, Activation, check_map, check_operand, empty_map


@jit
def _filtered_row(
    x_ptr: tl.tensor,
    row: tl.tensor,
    columns: tl.tensor,
    channels: tl.tensor,
    mask: tl.tensor,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Row ``row`` of a zero-padded map [HEIGHT + 1, WIDTH + 1, CHANNELS], filtered with the taps [1,3,3,1]."""
    total = tl.zeros((columns.shape[0], channels.shape[0]), tl.float32)
    for tap in tl.static_range(4):
        column = columns + (tap - 1)
        inside = (row >= 0) & (row <= HEIGHT) & (column >= 0) & (column <= WIDTH)
        offset = (row * (WIDTH + 1) + column)[:, None] * CHANNELS + channels[None, :]
        x = tl.load(x_ptr + offset, mask=inside[:, None] & mask, other=0).to(tl.float32)
        total += x * (3.0 if tap == 1 or tap == 2 else 1.0)
    return total


@jit
def _tail(
    x_ptr: tl.tensor,
    demodulation_ptr: tl.tensor,
    noise_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    style_ptr: tl.tensor,
    y_ptr: tl.tensor,
    UP: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CLAMP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    channel_blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    n = tl.program_id(2).to(tl.int64)
    channels = tl.program_id(0) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    columns = tl.program_id(0) // channel_blocks * BLOCK_W + tl.arange(0, BLOCK_W)
    # A vector like the columns: Triton's interpreter mistypes masks from comparisons of scalars.
    first = tl.program_id(1) * ROWS + tl.zeros_like(columns)
    inside = channels < CHANNELS
    mask = inside[None, :]

    demodulation = tl.load(demodulation_ptr + n * CHANNELS + channels, mask=inside, other=0)
    bias = tl.load(bias_ptr + channels, mask=inside, other=0)
    if style_ptr is not None:
        style = tl.load(style_ptr + n * CHANNELS + channels, mask=inside, other=0)
    y_ptr += n * HEIGHT * WIDTH * CHANNELS
    if UP:
        x_ptr += n * (HEIGHT + 1) * (WIDTH + 1) * CHANNELS
        demodulation *= 1 / 16  # The taps of each direction sum up to 8 but have a gain of 2.
        above = _filtered_row(x_ptr, first - 1, columns, channels, mask, CHANNELS, HEIGHT, WIDTH)
        here = _filtered_row(x_ptr, first, columns, channels, mask, CHANNELS, HEIGHT, WIDTH)
        below = _filtered_row(x_ptr, first + 1, columns, channels, mask, CHANNELS, HEIGHT, WIDTH)
    else:
        x_ptr += n * HEIGHT * WIDTH * CHANNELS

    for step in tl.static_range(ROWS):
        row = first + step
        in_row = (row < HEIGHT) & (columns < WIDTH)
        offset = (row * WIDTH + columns)[:, None] * CHANNELS + channels[None, :]
        if UP:
            last = _filtered_row(x_ptr, row + 2, columns, channels, mask, CHANNELS, HEIGHT, WIDTH)
            x = above + 3 * (here + below) + last
            above = here
            here = below
            below = last
        else:
            x = tl.load(x_ptr + offset, mask=in_row[:, None] & mask, other=0).to(tl.float32)
        noise = tl.load(noise_ptr + row * WIDTH + columns, mask=in_row, other=0).to(tl.float32)
        y = activate(x, demodulation[None, :], noise[:, None], bias[None, :], CLAMP)
        if style_ptr is not None:
            y *= style[None, :]
        tl.store(y_ptr + offset, y.to(tl.float16), mask=in_row[:, None] & mask)


def tail_spec(
    channels: int, height: int, width: int, *, up: bool = False, styled: bool = False, clamp: float | None = None
) -> KernelSpec:
    """The launch for an output map [N, channels, height, width]."""
    # 128 threads handle 1024 numbers at a time, 8 each: a 16-byte access if the channels are a multiple of 8.
    block_c = next_power_of_two(channels, maximum=64)
    block_w = 1024 // block_c
    rows = next_power_of_two(height // 8, maximum=8)
    return KernelSpec(
        kernel=_tail,
        pointers={
            "x_ptr": torch.float16,
            **ACTIVATION_POINTERS,
            "style_ptr": torch.float32 if styled else None,
            "y_ptr": torch.float16,
        },
        constants={
            "UP": up,
            "CHANNELS": channels,
            "HEIGHT": height,
            "WIDTH": width,
            "CLAMP": clamp,
            "ROWS": rows,
            "BLOCK_W": block_w,
            "BLOCK_C": block_c,
        },
        grid=(ceil_div(width, block_w) * ceil_div(channels, block_c), ceil_div(height, rows)),
    )


def tail(x: Tensor, activation: Activation, *, style: Tensor | None = None, up: bool = False) -> Tensor:
    """Apply a convolution's tail to its output.

    Args:
        x: float16 [N, O, H, W], channels last; if ``up``, a transposed convolution's [N, O, H + 1, W + 1].
        activation: the layer's operands.
        style: the next convolution's style, float32 [N, O].
        up: whether to apply the FIR filter first.

    Returns:
        float16 [N, O, H, W], channels last.

    Raises:
        EngineError: an operand does not fit.
    """
    pointers = {"x_ptr": check_map("x", x)}
    batch, channels, height, width = x.shape[0], x.shape[1], x.shape[2] - up, x.shape[3] - up
    pointers |= activation.pointers(batch, channels, height, width)
    if style is not None:
        pointers["style_ptr"] = check_operand("style", style, torch.float32, (batch, channels))
    pointers["y_ptr"] = y = empty_map(x, (batch, channels, height, width))
    spec = tail_spec(channels, height, width, up=up, styled=style is not None, clamp=activation.clamp)
    spec.launch(batch, pointers)
    return y
