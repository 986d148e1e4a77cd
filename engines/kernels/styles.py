"""All layers' styles in one launch, and all convolutions' demodulations in another.

    w' = w + (1 - psi) * (w_avg - w)
    raw = affine @ w' + bias, of each layer from its own row of W+
    style = raw / max |raw|
    demodulation = sqrt 2 / sqrt(squares @ style^2 + epsilon / max |raw|^2)

Letters in shapes: N batch, L rows of W+, D width of w, C channels of the widest layer, S and O the sums of all layers'
styles and of all demodulations, K the styles that are demodulated, which come first. The weights of all layers lie one
below the other; results are packed by layer, each a contiguous [N, width] that later kernels read in
place. A table has a line for each block with the layer that it belongs to.

A product of a matrix with one vector is limited by memory, so that the weights are float16 and every sample is a block
of its own. A block holds few channels, so that there are some hundreds for the multiprocessors, and 4096 or 8192
weights at a time, 32 or 64 for each of 128 threads.

Bytes: 2 for each weight, S * D and O * C. FLOPs: 2 for each weight and sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import triton.language as tl
from torch import Tensor

from engines.kernels.launch import KernelSpec, jit, next_power_of_two
from engines.kernels.operands import check_operand

STYLE_BLOCK = 16
DEMODULATION_BLOCK = 8
"""Channels of a block, for the number of blocks."""


@jit
def _styles(
    w_ptr: tl.tensor,
    psi_ptr: tl.tensor,
    w_avg_ptr: tl.tensor,
    affine_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    blocks_ptr: tl.tensor,
    raw_ptr: tl.tensor,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    n = tl.program_id(2)
    blocks_ptr += 4 * tl.program_id(0)
    row = tl.load(blocks_ptr)
    layer = tl.load(blocks_ptr + 1)
    width = tl.load(blocks_ptr + 2)
    channels = tl.load(blocks_ptr + 3) + tl.arange(0, BLOCK_C)
    inside = channels < width
    kept = 1 - tl.load(psi_ptr + n)

    total = tl.load(bias_ptr + layer + channels, mask=inside, other=0)
    for first in range(0, DEPTH, BLOCK_D):
        depth = first + tl.arange(0, BLOCK_D)
        in_depth = depth < DEPTH
        w = tl.load(w_ptr + (n * ROWS + row) * DEPTH + depth, mask=in_depth, other=0)
        w += kept * (tl.load(w_avg_ptr + depth, mask=in_depth, other=0) - w)
        offset = (layer + channels)[:, None] * DEPTH + depth[None, :]
        affine = tl.load(affine_ptr + offset, mask=inside[:, None] & in_depth[None, :], other=0).to(tl.float32)
        total += tl.sum(affine * w[None, :], 1)
    tl.store(raw_ptr + tl.num_programs(2) * layer + n * width + channels, total, mask=inside)


@jit
def _demodulations(
    raw_ptr: tl.tensor,
    squares_ptr: tl.tensor,
    epsilon_ptr: tl.tensor,
    blocks_ptr: tl.tensor,
    style_ptr: tl.tensor,
    demodulation_ptr: tl.tensor,
    WIDEST: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
) -> None:
    n = tl.program_id(2)
    batch = tl.num_programs(2)
    blocks_ptr += 5 * tl.program_id(0)
    layer_in = tl.load(blocks_ptr)
    width_in = tl.load(blocks_ptr + 1)
    layer_out = tl.load(blocks_ptr + 2)
    width_out = tl.load(blocks_ptr + 3)
    start = tl.load(blocks_ptr + 4)
    i = tl.arange(0, BLOCK_I)
    in_depth = i < width_in
    channels = start + tl.arange(0, BLOCK_O)
    inside = channels < width_out

    position = batch * layer_in + n * width_in + i
    raw = tl.load(raw_ptr + position, mask=in_depth, other=0)
    largest = tl.maximum(tl.max(tl.abs(raw), 0), 1.1754944e-38)  # a layer of zeros is divided by the smallest number
    style = raw / largest
    # The layer's first block; a vector like the channels, as masks of scalars are mistyped by the interpreter.
    tl.store(style_ptr + position, style, mask=in_depth & (start + tl.zeros_like(i) == 0))
    offset = (layer_out + channels)[:, None] * WIDEST + i[None, :]
    # The padding of narrow layers is read too: a mask of their width would keep reads from being 16 bytes wide.
    squares = tl.load(squares_ptr + offset, mask=inside[:, None] & (i < WIDEST)[None, :], other=0).to(tl.float32)
    epsilon = tl.load(epsilon_ptr + layer_out + channels, mask=inside, other=0) / largest / largest
    total = tl.sum(squares * (style * style)[None, :], 1) / width_in + epsilon
    offset = batch * layer_out + n * width_out + channels
    tl.store(demodulation_ptr + offset, 1.4142135 * tl.rsqrt(total), mask=inside)


def style_blocks(rows: Sequence[int], widths: Sequence[int]) -> list[tuple[int, ...]]:
    """The table of ``styles``: row of W+, first channel of the layer, its width, the block's first channel in it."""
    return [
        (row, layer, width, start)
        for row, (layer, width) in zip(rows, _places(widths), strict=True)
        for start in range(0, width, STYLE_BLOCK)
    ]


def demodulation_blocks(widths_in: Sequence[int], widths_out: Sequence[int]) -> list[tuple[int, ...]]:
    """The table of ``demodulations``: first channel and width of the layer's style and of its demodulation, start."""
    return [
        (*layer_in, *layer_out, start)
        for layer_in, layer_out in zip(_places(widths_in), _places(widths_out), strict=True)
        for start in range(0, layer_out[1], DEMODULATION_BLOCK)
    ]


def _places(widths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first channel of each layer, and its width."""
    first = 0
    for width in widths:
        yield first, width
        first += width


def styles_spec(rows: int, depth: int, blocks: int) -> KernelSpec:
    """The launch for codes [N, rows, depth] and a table of so many blocks."""
    inputs = dict.fromkeys(("w_ptr", "psi_ptr", "w_avg_ptr"), torch.float32)
    weights = {"affine_ptr": torch.float16, "bias_ptr": torch.float32, "blocks_ptr": torch.int32}
    block_d = next_power_of_two(depth, maximum=256)
    return KernelSpec(
        kernel=_styles,
        pointers={**inputs, **weights, "raw_ptr": torch.float32},
        constants={"ROWS": rows, "DEPTH": depth, "BLOCK_D": block_d, "BLOCK_C": STYLE_BLOCK},
        grid=(blocks, 1),
    )


def demodulations_spec(widest: int, blocks: int) -> KernelSpec:
    """The launch for convolutions of at most ``widest`` input channels and a table of so many blocks."""
    weights = {"squares_ptr": torch.float16, "epsilon_ptr": torch.float32, "blocks_ptr": torch.int32}
    block_i = 1 << max(widest - 1, 0).bit_length()
    return KernelSpec(
        kernel=_demodulations,
        pointers={
            "raw_ptr": torch.float32,
            **weights,
            "style_ptr": torch.float32,
            "demodulation_ptr": torch.float32,
        },
        constants={"WIDEST": widest, "BLOCK_I": block_i, "BLOCK_O": DEMODULATION_BLOCK},
        grid=(blocks, 1),
    )


def styles(w: Tensor, psi: Tensor, w_avg: Tensor, affine: Tensor, bias: Tensor, blocks: Tensor) -> Tensor:
    """Compute all layers' styles.

    Args:
        w: float32 [N, L, D].
        psi: the truncation, float32 [N, 1]; 1 = none.
        w_avg: float32 [D].
        affine: all layers' weights, float16 [S, D].
        bias: float32 [S].
        blocks: ``style_blocks``, int32 [B, 4].

    Returns:
        float32 [N * S], packed by layer.

    Raises:
        EngineError: an operand does not fit.
    """
    (batch, rows, depth), channels = w.shape, len(bias)
    raw = w.new_empty(batch * channels)
    pointers = {
        "w_ptr": check_operand("w", w, torch.float32, (batch, rows, depth)),
        "psi_ptr": check_operand("psi", psi, torch.float32, (batch, 1)),
        "w_avg_ptr": check_operand("w_avg", w_avg, torch.float32, (depth,)),
        "affine_ptr": check_operand("affine", affine, torch.float16, (channels, depth)),
        "bias_ptr": check_operand("bias", bias, torch.float32, (channels,)),
        "blocks_ptr": check_operand("blocks", blocks, torch.int32, (len(blocks), 4)),
        "raw_ptr": raw,
    }
    styles_spec(rows, depth, len(blocks)).launch(batch, pointers)
    return raw


def demodulations(
    raw: Tensor, squares: Tensor, epsilon: Tensor, blocks: Tensor, batch: int, channels_in: int
) -> tuple[Tensor, Tensor]:
    """Normalise the convolutions' styles, and compute their demodulations, which include the gain sqrt 2.

    Args:
        raw: the result of ``styles``, whose first ``batch * channels_in`` values are the convolutions'.
        squares: ``NormalisedWeight.squares`` times the layer's input channels, transposed, padded with zeros, float16
            [O, C].
        epsilon: ``NormalisedWeight.epsilon``, float32 [O].
        blocks: ``demodulation_blocks``, int32 [B, 5].
        batch: N.
        channels_in: K.

    Returns:
        The styles, float32 [N * K], and the demodulations, float32 [N * O], both packed by layer.

    Raises:
        EngineError: an operand does not fit.
    """
    channels, widest = squares.shape
    outputs = raw.new_empty(batch * channels_in), raw.new_empty(batch * channels)
    pointers = {
        "raw_ptr": raw,
        "squares_ptr": check_operand("squares", squares, torch.float16, (channels, widest)),
        "epsilon_ptr": check_operand("epsilon", epsilon, torch.float32, (channels,)),
        "blocks_ptr": check_operand("blocks", blocks, torch.int32, (len(blocks), 5)),
        "style_ptr": outputs[0],
        "demodulation_ptr": outputs[1],
    }
    demodulations_spec(widest, len(blocks)).launch(batch, pointers)
    return outputs
