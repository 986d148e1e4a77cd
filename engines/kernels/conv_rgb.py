"""A resolution's last convolution in one kernel: an implicit GEMM followed by its tail and ToRGB.

    y = clamp(leaky_relu(conv3x3(x) * demodulation + noise + bias))
    next = y * next_style, if a resolution follows
    image = clamp(sum over channels of y * style * weight, + bias) + FIR-upsampled skip

The product's rows are a tile of TILE_H x TILE_W pixels, its columns are all output channels, since ToRGB sums over
them, and its depth is 9 taps of I channels. The taps read almost the same pixels, which the cache modifier ``.ca``
keeps in L1, so that memory is read once. At the last resolution y stays in registers. Where all weights fit in shared
memory, ``conv_rgb_rows`` computes the same with a third of the copies.

The kernel is meant for the large and narrow maps at 512 and 1024. With more channels, arithmetic is the limit, and a
library's convolution followed by ``to_rgb`` is as fast.

Bytes: 2 read for each of N * I * H * W numbers and, if a resolution follows, 2 written for each of N * O * H * W; noise
and colours as in ``to_rgb``. FLOPs: 18 * I * O per pixel.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.contract.errors import EngineError
from engines.kernels import shared_memory
from engines.kernels.conv_rgb_rows import conv_rgb_rows_spec, shared_bytes
from engines.kernels.device import padded_pixels, store_outputs, tap_weight
from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import ACTIVATION_POINTERS, Activation, check_map, check_operand
from engines.kernels.rgb import ToRgbOperands, ToRgbVariant

MAX_CHANNELS_OUT = 128


@jit
def _conv_rgb(
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
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
) -> None:
    n = tl.program_id(2).to(tl.int64)
    pixel = tl.arange(0, TILE_H * TILE_W)
    row = tl.program_id(1) * TILE_H + pixel // TILE_W
    column = tl.program_id(0) * TILE_W + pixel % TILE_W
    depth = tl.arange(0, BLOCK_I)
    channels = tl.arange(0, BLOCK_O)
    x_ptr += n * HEIGHT * WIDTH * CHANNELS_IN

    # Taps and blocks of channels share one loop instead of nested ones, so that the pipeline is filled only once.
    depth_blocks: tl.constexpr = (CHANNELS_IN + BLOCK_I - 1) // BLOCK_I
    total = tl.zeros((TILE_H * TILE_W, BLOCK_O), tl.float32)
    for step in range(9 * depth_blocks):
        tap = step // depth_blocks
        i = step % depth_blocks * BLOCK_I + depth
        x = padded_pixels(x_ptr, row + (tap // 3 - 1), column + (tap % 3 - 1), i, CHANNELS_IN, HEIGHT, WIDTH)
        total = tl.dot(x, tap_weight(weight_ptr, tap, i, channels, CHANNELS_IN, CHANNELS_OUT), total)

    store_outputs(
        total,
        row,
        column,
        (row < HEIGHT) & (column < WIDTH),
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


def conv_rgb_spec(
    channels_in: int,
    channels_out: int,
    height: int,
    width: int,
    variant: ToRgbVariant,
    block_bytes: int = shared_memory.EVERYWHERE,
) -> KernelSpec:
    """The launch for an output map [N, channels_out, height, width], by rows if weights fit in ``block_bytes``.

    Raises:
        EngineError: there are more than 128 output channels, which one block cannot hold.
    """
    if channels_out > MAX_CHANNELS_OUT:
        raise EngineError(
            "the fused convolution with ToRGB",
            got=f"{channels_out} output channels",
            expected=f"at most {MAX_CHANNELS_OUT}",
            remedy="use a library's convolution and to_rgb",
        )
    if shared_bytes(channels_in, channels_out) <= block_bytes:
        return conv_rgb_rows_spec(channels_in, channels_out, height, width, variant)
    tile_h, tile_w = 8, 16
    return KernelSpec(
        kernel=_conv_rgb,
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
            "TILE_H": tile_h,
            "TILE_W": tile_w,
            "BLOCK_I": next_power_of_two(channels_in, minimum=16, maximum=32),
            "BLOCK_O": next_power_of_two(channels_out, minimum=16, maximum=MAX_CHANNELS_OUT),
            **variant.constants,
        },
        grid=(ceil_div(width, tile_w), ceil_div(height, tile_h)),
        stages=3,
    )


def conv_rgb(x: Tensor, weight: Tensor, activation: Activation, rgb: ToRgbOperands) -> tuple[Tensor, Tensor | None]:
    """Convolve, activate and apply ToRGB.

    Args:
        x: the styled map, float16 [N, I, H, W], channels last.
        weight: float16 [O, I, 3, 3], channels last; O is at most 128.
        activation: the convolution's operands.
        rgb: ToRGB's operands.

    Returns:
        The sum of the images so far, float32 [N, 3, H, W], or the picture, uint8 [N, H, W, 3]; and the next layer's
        input, float16 [N, O, H, W] in channels last, if ``rgb`` has its style.

    Raises:
        EngineError: an operand does not fit.
    """
    pointers = {"x_ptr": check_map("x", x)}
    (batch, channels_in, height, width), channels = x.shape, len(weight)
    shape = (channels, channels_in, 3, 3)
    pointers["weight_ptr"] = check_operand("weight", weight, torch.float16, shape, torch.channels_last)
    variant, block_bytes = rgb.variant(activation), shared_memory.block_bytes(x.device)
    spec = conv_rgb_spec(channels_in, channels, height, width, variant, block_bytes)
    pointers |= activation.pointers(batch, channels, height, width)
    pointers |= rgb.pointers(batch, channels, height, width) | rgb.outputs(batch, channels, height, width)
    spec.launch(batch, pointers)
    return pointers["image_ptr"], pointers.get("next_ptr")
