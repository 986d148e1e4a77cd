"""The tail of a resolution's last convolution together with ToRGB, in one pass over its map.

    y = clamp(leaky_relu(x * demodulation + noise + bias)), or x if it is activated already
    next = y * next_style, if a resolution follows
    image = clamp(sum over channels of y * style * weight, + bias) + FIR-upsampled skip

Only these two outputs use y, so that y itself is never written. The last image is the picture in uint8 [N, H, W, 3],
trunc(clamp(127.5 image + 128, 0, 255)). A block holds BLOCK_P pixels and loops over their channels. After
``conv_sums``, x is the sum of its float32 maps.

Bytes: 2 read (4 of each sum) and, if a resolution follows, 2 written for each of N * C * H * W numbers; 2 read for each
of H * W noise values; 3 read and 12 (the picture: 3) written for the colours of each pixel. FLOPs: 13 per number.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels.device import activate, rgb_contribution, store_image
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import ACTIVATION_POINTERS, Activation, check_map, check_operand
from engines.kernels.rgb import ToRgbOperands, ToRgbVariant


@jit
def _to_rgb(
    x_ptr: tl.tensor,
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
    SUMS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    n = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    on_map = pixel < HEIGHT * WIDTH
    x_ptr += n * HEIGHT * WIDTH * CHANNELS
    if next_ptr is not None:
        next_ptr += n * HEIGHT * WIDTH * CHANNELS
    if demodulation_ptr is not None:
        noise = tl.load(noise_ptr + pixel, mask=on_map, other=0).to(tl.float32)

    red = tl.zeros((BLOCK_P,), tl.float32)
    green = tl.zeros((BLOCK_P,), tl.float32)
    blue = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, CHANNELS, BLOCK_C):
        channels = first + tl.arange(0, BLOCK_C)
        inside = channels < CHANNELS
        mask = on_map[:, None] & inside[None, :]
        offset = pixel[:, None] * CHANNELS + channels[None, :]
        y = tl.load(x_ptr + offset, mask=mask, other=0).to(tl.float32)
        for number in tl.static_range(1, SUMS):
            map_ptr = x_ptr + number * tl.num_programs(2).to(tl.int64) * HEIGHT * WIDTH * CHANNELS
            y += tl.load(map_ptr + offset, mask=mask, other=0)
        if demodulation_ptr is not None:
            demodulation = tl.load(demodulation_ptr + n * CHANNELS + channels, mask=inside, other=0)
            bias = tl.load(bias_ptr + channels, mask=inside, other=0)
            y = activate(y, demodulation[None, :], noise[:, None], bias[None, :], CLAMP)
        if next_ptr is not None:
            next_style = tl.load(next_style_ptr + n * CHANNELS + channels, mask=inside, other=0)
            tl.store(next_ptr + offset, (y * next_style[None, :]).to(tl.float16), mask=mask)
        style = tl.load(rgb_style_ptr + n * CHANNELS + channels, mask=inside, other=0)
        red += rgb_contribution(y, style, rgb_weight_ptr, channels, inside)
        green += rgb_contribution(y, style, rgb_weight_ptr + CHANNELS, channels, inside)
        blue += rgb_contribution(y, style, rgb_weight_ptr + 2 * CHANNELS, channels, inside)
    row = pixel // WIDTH
    column = pixel % WIDTH
    store_image(
        red, green, blue, rgb_bias_ptr, skip_ptr, image_ptr, row, column, on_map, HEIGHT, WIDTH, RGB_CLAMP, QUANTISED
    )


def to_rgb_spec(
    channels: int, height: int, width: int, variant: ToRgbVariant, *, activated: bool = False, sums: int = 0
) -> KernelSpec:
    """The launch for a map [N, channels, height, width], or for as many ``sums`` of ``conv_sums``.

    ``activated`` maps take no activation operands.
    """
    # 128 threads handle 2048 numbers at a time, 16 each: two 16-byte accesses. Sums are those of small maps,
    # which make more blocks with a quarter of that: 4 numbers each, 16 bytes in float32.
    block_c = next_power_of_two(channels, maximum=64)
    block_p = (512 if sums else 2048) // block_c
    return KernelSpec(
        kernel=_to_rgb,
        pointers={
            "x_ptr": torch.float32 if sums else torch.float16,
            **(dict.fromkeys(ACTIVATION_POINTERS) if activated else ACTIVATION_POINTERS),
            **variant.pointers,
        },
        constants={
            "CHANNELS": channels,
            "HEIGHT": height,
            "WIDTH": width,
            "SUMS": sums,
            "BLOCK_P": block_p,
            "BLOCK_C": block_c,
            **variant.constants,
        },
        grid=(ceil_div(height * width, block_p), 1),
    )


def to_rgb(x: Tensor, rgb: ToRgbOperands, activation: Activation | None = None) -> tuple[Tensor, Tensor | None]:
    """Apply a convolution's tail and ToRGB to its output.

    Args:
        x: float16 [N, O, H, W], channels last: a convolution's output, or an activated map if ``activation`` is None;
            or the float32 [SUMS, N, H, W, O] of ``conv_sums``.
        rgb: ToRGB's operands.
        activation: the convolution's operands.

    Returns:
        The sum of the images so far, float32 [N, 3, H, W], or the picture, uint8 [N, H, W, 3]; and the next layer's
        input, float16 [N, O, H, W] in channels last, if ``rgb`` has its style.

    Raises:
        EngineError: an operand does not fit.
    """
    sums = len(x) if x.ndim == 5 else 0
    if sums:
        batch, height, width, channels = x.shape[1:]
        pointers = {"x_ptr": check_operand("sums", x, torch.float32, x.shape)}
    else:
        pointers = {"x_ptr": check_map("x", x)}
        batch, channels, height, width = x.shape
    if activation is not None:
        pointers |= activation.pointers(batch, channels, height, width)
    pointers |= rgb.pointers(batch, channels, height, width) | rgb.outputs(batch, channels, height, width)
    variant = rgb.variant(activation)
    spec = to_rgb_spec(channels, height, width, variant, activated=activation is None, sums=sums)
    spec.launch(batch, pointers)
    return pointers["image_ptr"], pointers.get("next_ptr")
