"""Functions on the GPU that several kernels call.

Letters in shapes: P pixels, D input and C output channels of a block. ``row``, ``column`` and ``on_map`` are [P] each.
"""

from __future__ import annotations

import triton.language as tl

from engines.kernels.launch import jit


@jit
def activate(
    x: tl.tensor, demodulation: tl.tensor, noise: tl.tensor, bias: tl.tensor, CLAMP: tl.constexpr
) -> tl.tensor:
    """clamp(leaky_relu(x * demodulation + noise + bias)), in float32."""
    x = x * demodulation + noise + bias
    x = tl.maximum(x, 0.2 * x)  # leaky_relu, without the register that a comparison takes
    if CLAMP is not None:
        x = tl.clamp(x, -CLAMP, CLAMP)
    return x


@jit
def rgb_contribution(
    y: tl.tensor, style: tl.tensor, weight_ptr: tl.tensor, channels: tl.tensor, inside: tl.tensor
) -> tl.tensor:
    """The sum [P] of the channels of y [P, C] for one colour, whose row of ToRGB's weight begins at ``weight_ptr``."""
    weight = tl.load(weight_ptr + channels, mask=inside, other=0)
    return tl.sum(y * (weight * style)[None, :], 1)


@jit
def upsampled(
    plane_ptr: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    on_map: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Planes [HEIGHT / 2, WIDTH / 2] upsampled with the FIR filter, at pixels [P, 1] of planes [1, C]: [P, C].

    Two of the taps [1,3,3,1] / 4 over zero-interleaved rows fall on source rows: 3/4 of the row that covers the pixel,
    and 1/4 of the row above it if the pixel's row is even, or below it if odd. Columns are treated alike.
    """
    near_row = row // 2
    near_column = column // 2
    far_row = near_row - 1 + 2 * (row % 2)
    far_column = near_column - 1 + 2 * (column % 2)
    in_rows = on_map & (far_row >= 0) & (far_row < HEIGHT // 2)
    in_columns = (far_column >= 0) & (far_column < WIDTH // 2)
    near_ptr = plane_ptr + near_row * (WIDTH // 2)
    far_ptr = plane_ptr + far_row * (WIDTH // 2)
    total = 9 * tl.load(near_ptr + near_column, mask=on_map, other=0)
    total += 3 * tl.load(near_ptr + far_column, mask=on_map & in_columns, other=0)
    total += 3 * tl.load(far_ptr + near_column, mask=in_rows, other=0)
    total += tl.load(far_ptr + far_column, mask=in_rows & in_columns, other=0)
    return total / 16


@jit
def store_image(
    red: tl.tensor,
    green: tl.tensor,
    blue: tl.tensor,
    bias_ptr: tl.tensor,
    skip_ptr: tl.tensor,
    image_ptr: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    on_map: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CLAMP: tl.constexpr,
    QUANTISED: tl.constexpr,
) -> None:
    """Add bias and skip to three colours [P] of sample z, and store them in float32 [N, 3, H, W] or uint8 [N, H, W, 3].

    The colours become the columns of one matrix, with a fourth that is not stored: all threads of a block share its
    numbers, while each of a vector's is computed by the four threads that hold the sums of a pixel.
    """
    n = tl.program_id(2).to(tl.int64)
    value = tl.join(tl.join(red, blue), tl.join(green, blue)).reshape(red.shape[0], 4)
    colour = tl.arange(0, 4)
    is_colour = colour < 3
    mask = on_map[:, None] & is_colour[None, :]
    value += tl.load(bias_ptr + colour, mask=is_colour, other=0)[None, :]
    if CLAMP is not None:
        value = tl.clamp(value, -CLAMP, CLAMP)
    if skip_ptr is not None:
        plane_ptr = skip_ptr + (n * 3 + colour)[None, :] * (HEIGHT // 2) * (WIDTH // 2)
        value += upsampled(plane_ptr, row[:, None], column[:, None], mask, HEIGHT, WIDTH)
    pixel = (row * WIDTH + column)[:, None]
    if QUANTISED:
        level = tl.clamp(value * 127.5 + 128, 0.0, 255.0).to(tl.uint8)
        tl.store(image_ptr + n * HEIGHT * WIDTH * 3 + pixel * 3 + colour[None, :], level, mask=mask)
    else:
        tl.store(image_ptr + (n * 3 + colour)[None, :] * HEIGHT * WIDTH + pixel, value, mask=mask)


@jit
def store_outputs(
    total: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    on_map: tl.tensor,
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
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CLAMP: tl.constexpr,
    RGB_CLAMP: tl.constexpr,
    QUANTISED: tl.constexpr,
) -> None:
    """A convolution's sums [P, C] of all output channels -> the image and, if a resolution follows, its input."""
    n = tl.program_id(2).to(tl.int64)
    channels = tl.arange(0, total.shape[1])
    inside = channels < CHANNELS
    pixel = row * WIDTH + column
    demodulation = tl.load(demodulation_ptr + n * CHANNELS + channels, mask=inside, other=0)
    bias = tl.load(bias_ptr + channels, mask=inside, other=0)
    noise = tl.load(noise_ptr + pixel, mask=on_map, other=0).to(tl.float32)
    y = activate(total, demodulation[None, :], noise[:, None], bias[None, :], CLAMP)
    if next_ptr is not None:
        next_style = tl.load(next_style_ptr + n * CHANNELS + channels, mask=inside, other=0)
        offset = n * HEIGHT * WIDTH * CHANNELS + pixel[:, None] * CHANNELS + channels[None, :]
        tl.store(next_ptr + offset, (y * next_style[None, :]).to(tl.float16), mask=on_map[:, None] & inside[None, :])
    style = tl.load(rgb_style_ptr + n * CHANNELS + channels, mask=inside, other=0)
    red = rgb_contribution(y, style, rgb_weight_ptr, channels, inside)
    green = rgb_contribution(y, style, rgb_weight_ptr + CHANNELS, channels, inside)
    blue = rgb_contribution(y, style, rgb_weight_ptr + 2 * CHANNELS, channels, inside)
    store_image(
        red, green, blue, rgb_bias_ptr, skip_ptr, image_ptr, row, column, on_map, HEIGHT, WIDTH, RGB_CLAMP, QUANTISED
    )


@jit
def padded_pixels(
    x_ptr: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    depth: tl.tensor,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Pixels of one sample's zero-padded map, [P, D]."""
    readable = (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    offset = (row * WIDTH + column)[:, None] * CHANNELS + depth[None, :]
    mask = readable[:, None] & (depth < CHANNELS)[None, :]
    return tl.load(x_ptr + offset, mask=mask, other=0, cache_modifier=".ca")


@jit
def shared_pixels(
    x_ptr: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    depth: tl.tensor,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """``padded_pixels`` for several products, each of which ends before the next one begins.

    They are read as integers: a conversion between copy and product, if only in name, makes Triton load Hopper's
    operand from shared memory into registers, once for all products, which would each read it there otherwise. In a
    loop whose products overlap, assemblers before CUDA 13.3 may overwrite such registers too early.
    """
    bits_ptr = x_ptr.to(tl.pointer_type(tl.int16), bitcast=True)
    bits = padded_pixels(bits_ptr, row, column, depth, CHANNELS, HEIGHT, WIDTH)
    return bits.to(tl.float16, bitcast=True)


@jit
def tap_weight(
    weight_ptr: tl.tensor,
    tap: tl.tensor,
    depth: tl.tensor,
    channels: tl.tensor,
    CHANNELS_IN: tl.constexpr,
    CHANNELS_OUT: tl.constexpr,
) -> tl.tensor:
    """The weight [D, C] of one of nine taps, from [O, 9, I]."""
    offset = (channels * 9 + tap)[None, :] * CHANNELS_IN + depth[:, None]
    mask = (channels < CHANNELS_OUT)[None, :] & (depth < CHANNELS_IN)[:, None]
    return tl.load(weight_ptr + offset, mask=mask, other=0, cache_modifier=".ca")


@jit
def tap_weights(
    weight_ptr: tl.tensor,
    ROW: tl.constexpr,
    depth: tl.tensor,
    channels: tl.tensor,
    CHANNELS_IN: tl.constexpr,
    CHANNELS_OUT: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The weights [D, C] of the three taps of one of the kernel's rows."""
    left = tap_weight(weight_ptr, 3 * ROW, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    middle = tap_weight(weight_ptr, 3 * ROW + 1, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    right = tap_weight(weight_ptr, 3 * ROW + 2, depth, channels, CHANNELS_IN, CHANNELS_OUT)
    return left, middle, right
