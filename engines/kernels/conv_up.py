"""An up-convolution in one kernel: y = clamp(leaky_relu(F(conv_transpose(x)) * demodulation + noise + bias)) * style.

F, a separable FIR filter, is merged into the weight along rows and applied as a filter along columns. Along a row, F
and the transposed convolution of stride 2 together are an ordinary 3-tap convolution with twice the output channels,
those of the even and those of the odd columns (``weights.merge_fir_along_rows``); side by side in memory, the two form
the row of doubled width. Along a column, the transposed convolution remains: input row m contributes to the rows 2m,
2m + 1 and 2m + 2 of a map t, which is filtered with [1,3,3,1] / 4. A block walks down its columns with the last three
rows of t in registers, so that t is never written.

If a block's weights fit, it keeps them in shared memory for all its rows; otherwise it copies them there for each row
again, from L1. Where two such blocks do not fit a multiprocessor, one of twice the width does the work of both.

Merging F in both directions would need twice as many products; merging it in neither would need a separate pass for F.

Bytes: 2 read for each of N * I * H * W / 4 numbers, where H and W are the output's, and 2 written for each of
N * O * H * W; noise as in ``tail``. FLOPs: 9 * I * O per output pixel, twice those of the transposed convolution alone,
and 13 for each number of y.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels import shared_memory
from engines.kernels.device import activate, padded_pixels, shared_pixels, tap_weight, tap_weights
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import ACTIVATION_POINTERS, Activation, check_map, check_operand, empty_map

BLOCK_W = 64
BLOCK_O = 32
"""Six tiles of 64 x 32 sums take 96 registers in each of 128 threads; larger tiles spill."""


@jit
def _conv_up(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    demodulation_ptr: tl.tensor,
    noise_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    style_ptr: tl.tensor,
    y_ptr: tl.tensor,
    CHANNELS_IN: tl.constexpr,
    CHANNELS_OUT: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CLAMP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
    KEPT: tl.constexpr,
) -> None:
    # A pair is a phase and a channel: first all channels of the even columns, then those of the odd ones.
    pair_blocks: tl.constexpr = (2 * CHANNELS_OUT + BLOCK_O - 1) // BLOCK_O
    n = tl.program_id(2).to(tl.int64)
    pairs = tl.program_id(0) % pair_blocks * BLOCK_O + tl.arange(0, BLOCK_O)
    columns = tl.program_id(0) // pair_blocks * BLOCK_W + tl.arange(0, BLOCK_W)
    first = tl.program_id(1) * ROWS
    depth = tl.arange(0, BLOCK_I)
    inside = pairs < 2 * CHANNELS_OUT
    channels = pairs % CHANNELS_OUT

    # The taps along a column sum up to 4 but have a gain of 2; those along a row are in the weight.
    demodulation = tl.load(demodulation_ptr + n * CHANNELS_OUT + channels, mask=inside, other=0) * 0.25
    bias = tl.load(bias_ptr + channels, mask=inside, other=0)
    style = tl.load(style_ptr + n * CHANNELS_OUT + channels, mask=inside, other=0)
    x_ptr += n * (HEIGHT // 2) * (WIDTH // 2) * CHANNELS_IN
    y_ptr += n * HEIGHT * WIDTH * CHANNELS_OUT

    zeros = tl.zeros((BLOCK_W, BLOCK_O), tl.float32)
    earlier_odd = zeros  # t at row 2m - 3,
    last_even = zeros  # at 2m - 2,
    last_odd = zeros  # at 2m - 1,
    carried = zeros  # and what input row m - 1 adds to row 2m.
    if KEPT:
        to_even = tap_weights(weight_ptr, 0, depth, pairs, CHANNELS_IN, 2 * CHANNELS_OUT)
        to_odd = tap_weights(weight_ptr, 1, depth, pairs, CHANNELS_IN, 2 * CHANNELS_OUT)
        to_next = tap_weights(weight_ptr, 2, depth, pairs, CHANNELS_IN, 2 * CHANNELS_OUT)
    depth_blocks: tl.constexpr = (CHANNELS_IN + BLOCK_I - 1) // BLOCK_I
    for walked in range(ROWS + 2):
        from_row = first - 1 + walked + tl.zeros_like(columns)  # m
        even = carried
        odd = zeros
        carried = zeros
        if KEPT:
            for tap in tl.static_range(3):
                from_column = columns + (tap - 1)
                x = shared_pixels(x_ptr, from_row, from_column, depth, CHANNELS_IN, HEIGHT // 2, WIDTH // 2)
                even = tl.dot(x, to_even[tap], even)
                odd = tl.dot(x, to_odd[tap], odd)
                carried = tl.dot(x, to_next[tap], carried)
        else:
            for step in range(3 * depth_blocks):
                tap = step // depth_blocks
                i = step % depth_blocks * BLOCK_I + depth
                from_column = columns + (tap - 1)
                x = padded_pixels(x_ptr, from_row, from_column, i, CHANNELS_IN, HEIGHT // 2, WIDTH // 2)
                even = tl.dot(x, tap_weight(weight_ptr, tap, i, pairs, CHANNELS_IN, 2 * CHANNELS_OUT), even)
                odd = tl.dot(x, tap_weight(weight_ptr, 3 + tap, i, pairs, CHANNELS_IN, 2 * CHANNELS_OUT), odd)
                carried = tl.dot(x, tap_weight(weight_ptr, 6 + tap, i, pairs, CHANNELS_IN, 2 * CHANNELS_OUT), carried)
        above = earlier_odd + 3 * (last_even + last_odd) + even  # y at row 2m - 2,
        below = last_even + 3 * (last_odd + even) + odd  # and at 2m - 1.
        for side in tl.static_range(2):
            # The first two steps only accumulate t.
            row = 2 * from_row - 2 + side
            on_map = (row >= 2 * first) & (row < HEIGHT) & (2 * columns < WIDTH)
            pixel = row * WIDTH + 2 * columns
            left = tl.load(noise_ptr + pixel, mask=on_map, other=0).to(tl.float32)
            right = tl.load(noise_ptr + pixel + 1, mask=on_map, other=0).to(tl.float32)
            noise = tl.where((pairs < CHANNELS_OUT)[None, :], left[:, None], right[:, None])
            y = activate(above if side == 0 else below, demodulation[None, :], noise, bias[None, :], CLAMP)
            offset = pixel[:, None] * CHANNELS_OUT + pairs[None, :]
            tl.store(y_ptr + offset, (y * style[None, :]).to(tl.float16), mask=on_map[:, None] & inside[None, :])
        earlier_odd = last_odd
        # Rows of t that only other blocks need become zero; ``conv_rgb_rows`` says why.
        last_even = tl.where((from_row >= first)[:, None], even, 0.0)
        last_odd = tl.where((from_row < first + ROWS)[:, None], odd, 0.0)
        carried = tl.where((from_row < first + ROWS)[:, None], carried, 0.0)


def conv_up_spec(
    channels_in: int,
    channels_out: int,
    height: int,
    width: int,
    *,
    clamp: float | None = None,
    block_bytes: int = shared_memory.EVERYWHERE,
) -> KernelSpec:
    """The launch for an output map [N, channels_out, height, width]; height and width are even.

    Weights are kept in shared memory if they fit in ``block_bytes``.
    """
    fits, fits_alone = (_kept_bytes(channels_in, columns) for columns in (BLOCK_W, 2 * BLOCK_W))
    kept = fits <= block_bytes or fits_alone <= shared_memory.alone(block_bytes)
    block_w = BLOCK_W if fits <= block_bytes or not kept else 2 * BLOCK_W
    # Each block filters two rows more than it stores; fewer blocks would leave multiprocessors idle.
    rows = next_power_of_two(height // 32, minimum=4, maximum=32)
    return KernelSpec(
        kernel=_conv_up,
        pointers={
            "x_ptr": torch.float16,
            "weight_ptr": torch.float16,
            **ACTIVATION_POINTERS,
            "style_ptr": torch.float32,
            "y_ptr": torch.float16,
        },
        constants={
            "CHANNELS_IN": channels_in,
            "CHANNELS_OUT": channels_out,
            "HEIGHT": height,
            "WIDTH": width,
            "CLAMP": clamp,
            "ROWS": rows,
            "BLOCK_W": block_w,
            "BLOCK_I": next_power_of_two(channels_in, minimum=16, maximum=None if kept else 32),
            "BLOCK_O": BLOCK_O,
            "KEPT": kept,
        },
        grid=(ceil_div(width // 2, block_w) * ceil_div(2 * channels_out, BLOCK_O), ceil_div(height // 2, rows)),
        warps=block_w // 16,
        stages=2 if kept else 3,
    )


def _kept_bytes(channels_in: int, columns: int) -> int:
    """The shared memory of a block that keeps its weights, with a row of pixels for each tap and a row of y."""
    depth = next_power_of_two(channels_in, minimum=16)
    return 2 * (9 * depth * BLOCK_O + 3 * columns * depth + columns * BLOCK_O)


def conv_up(x: Tensor, weight: Tensor, activation: Activation, style: Tensor) -> Tensor:
    """Convolve to twice the size, filter and activate.

    Args:
        x: the styled map, float16 [N, I, H / 2, W / 2], channels last.
        weight: ``weights.merge_fir_along_rows`` in float16, [2 O, I, 3, 3], channels last.
        activation: the convolution's operands.
        style: the next convolution's style, float32 [N, O].

    Returns:
        float16 [N, O, H, W], channels last.

    Raises:
        EngineError: an operand does not fit.
    """
    pointers = {"x_ptr": check_map("x", x)}
    batch, channels_in, channels = x.shape[0], x.shape[1], len(weight) // 2
    height, width = 2 * x.shape[2], 2 * x.shape[3]
    shape = (2 * channels, channels_in, 3, 3)
    pointers["weight_ptr"] = check_operand("weight", weight, torch.float16, shape, torch.channels_last)
    pointers |= activation.pointers(batch, channels, height, width)
    pointers["style_ptr"] = check_operand("style", style, torch.float32, (batch, channels))
    pointers["y_ptr"] = y = empty_map(x, (batch, channels, height, width))
    block_bytes = shared_memory.block_bytes(x.device)
    spec = conv_up_spec(channels_in, channels, height, width, clamp=activation.clamp, block_bytes=block_bytes)
    spec.launch(batch, pointers)
    return y
