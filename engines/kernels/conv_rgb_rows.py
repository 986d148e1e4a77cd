"""``conv_rgb`` for narrow maps: a block walks down its columns and keeps all weights in shared memory.

An input row adds the products of three taps to each of three output rows: it ends the sums of the row above it,
continues its own and begins those of the row below. A block holds the three rows' sums in registers. So each pixel is
copied to shared memory three times, once for each column of taps, and read from there as often; in tiles of pixels
(``conv_rgb``) it is nine times. Every block reads the weights once.

The product's rows are BLOCK_W columns of the map, 64, the tile of one of Hopper's matrix instructions: with 128, the
sums of three rows would leave no registers for a second block.

From row to row the sums change their names. If they only did that, the compiler would move them between registers amid
the products, and the assembler would let every product wait for the one before. So they are computed on after the
products: those of rows that belong to other blocks are set to zero.

Bytes and FLOPs are those of ``conv_rgb``; 2 rows of ROWS + 2 are computed by the neighbouring blocks too.
"""

from __future__ import annotations

import torch
import triton.language as tl

from engines.kernels.device import shared_pixels, store_outputs, tap_weights
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import ACTIVATION_POINTERS
from engines.kernels.rgb import ToRgbVariant

BLOCK_W = 64


@jit
def _conv_rgb_rows(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    demodulation_ptr: tl.tensor,
    noise_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    rgb_weight_ptr: tl.tensor,
    rgb_style_ptr: tl.tensor,
    rgb_bias_ptr: tl.tensor,
    skip_ptr: tl.tensor,
    next_style_ptr: tl.tensor,
    next_ptr: tl.tensor,
    image_ptr: tl.tensor,
    CHANNELS_IN: tl.constexpr,
    CHANNELS_OUT: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CLAMP: tl.constexpr,
    RGB_CLAMP: tl.constexpr,
    QUANTISED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_O: tl.constexpr,
) -> None:
    n = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    first = tl.program_id(1) * ROWS
    depth = tl.arange(0, DEPTH)
    channels = tl.arange(0, BLOCK_O)
    x_ptr += n * HEIGHT * WIDTH * CHANNELS_IN

    upper = tap_weights(weight_ptr, 0, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    middle = tap_weights(weight_ptr, 1, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    lower = tap_weights(weight_ptr, 2, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    zeros = tl.zeros((BLOCK_W, BLOCK_O), tl.float32)
    above = zeros  # the sums of row m - 1,
    here = zeros  # and of row m.
    for walked in range(ROWS + 2):
        from_row = first - 1 + walked + tl.zeros_like(columns)  # m
        below = zeros
        for tap in tl.static_range(3):
            x = shared_pixels(x_ptr, from_row, columns + (tap - 1), depth, CHANNELS_IN, HEIGHT, WIDTH)
            above = tl.dot(x, lower[tap], above)
            here = tl.dot(x, middle[tap], here)
            below = tl.dot(x, upper[tap], below)
        row = from_row - 1
        on_map = (row >= first) & (row < HEIGHT) & (columns < WIDTH)
        store_outputs(
            above,
            row,
            columns,
            on_map,
            demodulation_ptr,
            noise_ptr,
            bias_ptr,
            rgb_weight_ptr,
            rgb_style_ptr,
            rgb_bias_ptr,
            skip_ptr,
            next_style_ptr,
            next_ptr,
            image_ptr,
            CHANNELS_OUT,
            HEIGHT,
            WIDTH,
            CLAMP,
            RGB_CLAMP,
            QUANTISED,
        )
        above = tl.where((from_row >= first)[:, None], here, 0.0)
        here = tl.where((from_row + 1 < first + ROWS)[:, None], below, 0.0)


def shared_bytes(channels_in: int, channels_out: int) -> int:
    """The most shared memory that a block takes: weights, a row of pixels for each tap, and the next map's row."""
    depth, block_o = (next_power_of_two(channels, minimum=16) for channels in (channels_in, channels_out))
    return 2 * (9 * depth * block_o + 3 * BLOCK_W * depth + BLOCK_W * block_o)


def conv_rgb_rows_spec(
    channels_in: int, channels_out: int, height: int, width: int, variant: ToRgbVariant
) -> KernelSpec:
    """The launch for an output map [N, channels_out, height, width]."""
    # Each block computes two rows more than it stores; fewer blocks would leave multiprocessors idle.
    rows = next_power_of_two(height // 32, minimum=4, maximum=32)
    return KernelSpec(
        kernel=_conv_rgb_rows,
        pointers={
            "x_ptr": torch.float16,
            "weight_ptr": torch.float16,
            **ACTIVATION_POINTERS,
            **variant.pointers,
        },
        constants={
            "CHANNELS_IN": channels_in,
            "CHANNELS_OUT": channels_out,
            "HEIGHT": height,
            "WIDTH": width,
            "ROWS": rows,
            "BLOCK_W": BLOCK_W,
            "DEPTH": next_power_of_two(channels_in, minimum=16),
            "BLOCK_O": next_power_of_two(channels_out, minimum=16),
            **variant.constants,
        },
        grid=(ceil_div(width, BLOCK_W), ceil_div(height, rows)),
        stages=2,
    )
