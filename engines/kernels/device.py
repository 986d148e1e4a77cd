"""Functions on the GPU that several kernels call.

Letters in shapes: P pixels and C channels of a block. ``row``, ``column`` and ``on_map`` are [P] each.
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
    """A plane [HEIGHT / 2, WIDTH / 2] upsampled with the FIR filter, at pixels [P] of the result.

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
def store_colour(
    value: tl.tensor,
    COLOUR: tl.constexpr,
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
    """Add bias and skip to one colour [P] of sample z, and store it in float32 [N, 3, H, W] or uint8 [N, H, W, 3]."""
    n = tl.program_id(2).to(tl.int64)
    value += tl.load(bias_ptr + COLOUR)
    if CLAMP is not None:
        value = tl.clamp(value, -CLAMP, CLAMP)
    if skip_ptr is not None:
        plane_ptr = skip_ptr + (n * 3 + COLOUR) * (HEIGHT // 2) * (WIDTH // 2)
        value += upsampled(plane_ptr, row, column, on_map, HEIGHT, WIDTH)
    pixel = row * WIDTH + column
    if QUANTISED:
        level = tl.clamp(value * 127.5 + 128, 0.0, 255.0).to(tl.uint8)
        tl.store(image_ptr + n * HEIGHT * WIDTH * 3 + pixel * 3 + COLOUR, level, mask=on_map)
    else:
        tl.store(image_ptr + (n * 3 + COLOUR) * HEIGHT * WIDTH + pixel, value, mask=on_map)


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
    """Add bias and skip to the three colours [P] of sample z, and store them."""
    store_colour(red, 0, bias_ptr, skip_ptr, image_ptr, row, column, on_map, HEIGHT, WIDTH, CLAMP, QUANTISED)
    store_colour(green, 1, bias_ptr, skip_ptr, image_ptr, row, column, on_map, HEIGHT, WIDTH, CLAMP, QUANTISED)
    store_colour(blue, 2, bias_ptr, skip_ptr, image_ptr, row, column, on_map, HEIGHT, WIDTH, CLAMP, QUANTISED)
