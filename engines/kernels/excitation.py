"""The end of a residual unit with squeeze and excitation: gates, scaled map and shortcut in one launch.

    y = x * sigmoid(excite @ relu(squeeze @ mean)) + shortcut

Letters in shapes: N batch, C channels, S squeezed channels, H and W the map's height and width.

Every block computes all gates of its sample, since a launch of its own for them would cost more than the weights that
each block reads again through L2: 64 KiB for 512 channels. For that a block has as many pixels as make 4096 numbers, 8
of 512 channels or 64 of 64, which it reads first, so that they arrive while the gates are computed. The squeezed
channels are taken as many at a time as make 4096 weights of each matrix, 32 for each of 128 threads.

Bytes: 2 for each of 3 * N * C * H * W numbers, and of N * C means, and of 2 * S * C weights. FLOPs: 2 per pixel and
channel; each block besides 4 * S * C.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels.launch import KernelSpec, ceil_div, jit, next_power_of_two
from engines.kernels.operands import check_map, check_operand, empty_map

BLOCK = 4096
"""Numbers of a block's map, and weights of each matrix that it reads at once."""


@jit
def _excitation(
    x_ptr: tl.tensor,
    mean_ptr: tl.tensor,
    squeeze_ptr: tl.tensor,
    excite_ptr: tl.tensor,
    shortcut_ptr: tl.tensor,
    y_ptr: tl.tensor,
    CHANNELS: tl.constexpr,
    SQUEEZED: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    n = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channels = tl.arange(0, BLOCK_C)
    inside = channels < CHANNELS
    offset = n * PIXELS * CHANNELS + pixel[:, None] * CHANNELS + channels[None, :]
    on_map = (pixel < PIXELS)[:, None] & inside[None, :]
    x = tl.load(x_ptr + offset, mask=on_map, other=0)
    shortcut = tl.load(shortcut_ptr + offset, mask=on_map, other=0)

    mean = tl.load(mean_ptr + n * CHANNELS + channels, mask=inside, other=0).to(tl.float32)
    gates = tl.zeros((BLOCK_C,), tl.float32)
    for first in tl.static_range(0, SQUEEZED, BLOCK_S):
        squeezed = first + tl.arange(0, BLOCK_S)
        weight = squeezed[:, None] * CHANNELS + channels[None, :]
        mask = (squeezed < SQUEEZED)[:, None] & inside[None, :]
        squeeze = tl.load(squeeze_ptr + weight, mask=mask, other=0).to(tl.float32)
        excite = tl.load(excite_ptr + weight, mask=mask, other=0).to(tl.float32)
        activated = tl.maximum(tl.sum(squeeze * mean[None, :], 1), 0.0)
        gates += tl.sum(excite * activated[:, None], 0)
    y = x.to(tl.float32) * tl.sigmoid(gates)[None, :] + shortcut.to(tl.float32)
    tl.store(y_ptr + offset, y.to(tl.float16), mask=on_map)


def excitation_spec(channels: int, squeezed: int, height: int, width: int) -> KernelSpec:
    """The launch for a map [N, channels, height, width]."""
    block_c = next_power_of_two(channels, minimum=8)
    block_p = next_power_of_two(height * width, maximum=max(1, BLOCK // block_c))
    return KernelSpec(
        kernel=_excitation,
        pointers=dict.fromkeys(
            ("x_ptr", "mean_ptr", "squeeze_ptr", "excite_ptr", "shortcut_ptr", "y_ptr"), torch.float16
        ),
        constants={
            "CHANNELS": channels,
            "SQUEEZED": squeezed,
            "PIXELS": height * width,
            "BLOCK_P": block_p,
            "BLOCK_S": next_power_of_two(squeezed, maximum=max(1, BLOCK // block_c)),
            "BLOCK_C": block_c,
        },
        grid=(ceil_div(height * width, block_p), 1),
    )


def excitation(x: Tensor, mean: Tensor, squeeze: Tensor, excite: Tensor, shortcut: Tensor) -> Tensor:
    """Scale a map by its gates, and add the shortcut.

    Args:
        x: float16 [N, C, H, W], channels last.
        mean: the means of its channels, float16 [N, C].
        squeeze: float16 [S, C].
        excite: the second matrix, transposed, float16 [S, C].
        shortcut: float16 [N, C, H, W], channels last.

    Returns:
        float16 [N, C, H, W], channels last.

    Raises:
        EngineError: an operand does not fit.
    """
    (batch, channels, height, width), squeezed = check_map("x", x).shape, len(squeeze)
    pointers = {
        "x_ptr": x,
        "mean_ptr": check_operand("mean", mean, torch.float16, (batch, channels)),
        "squeeze_ptr": check_operand("squeeze", squeeze, torch.float16, (squeezed, channels)),
        "excite_ptr": check_operand("excite", excite, torch.float16, (squeezed, channels)),
        "shortcut_ptr": check_operand("shortcut", shortcut, torch.float16, x.shape, torch.channels_last),
        "y_ptr": empty_map(x, x.shape),
    }
    excitation_spec(channels, squeezed, height, width).launch(batch, pointers)
    return pointers["y_ptr"]
