"""A generator's launches on a GPU and what they cost by counting: bytes, operations, and the time that follows.

Nothing here is measured. A launch on an H100 takes the longest of four times: that of a small launch; that of reading
and writing, once, what must be read and written; that of what its blocks read and write through L2, if every
multiprocessor has a block; that of its waves of blocks, each at a multiprocessor's share of the operations.

A library's convolution is taken as an implicit GEMM in tiles of 128 x 128 whose depth is not split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from benchmarks.gpu.workloads import KernelWorkload, convolution_widths, style_workloads
from engines.kernels.conv_rgb import MAX_CHANNELS_OUT, conv_rgb_spec
from engines.kernels.conv_sums import DIVIDED_UP_TO, TAPS, conv_sums_spec
from engines.kernels.conv_up import conv_up_spec
from engines.kernels.launch import KernelSpec, ceil_div
from engines.kernels.rgb import ToRgbVariant
from engines.kernels.styles import demodulation_blocks, demodulations_spec, style_blocks, styles_spec
from engines.kernels.tail import tail_spec
from engines.kernels.to_rgb import to_rgb_spec
from engines.torch.layer_backends import FUSED_FROM

SMALL_LAUNCH = 2.2e-6
"""Seconds."""

MEMORY_RATE = 0.85 * 3.0e12
"""Bytes a second: the part of the memory's rate that is taken as reached."""

L2_RATE = 5.5e12
"""Bytes a second, with a block on every multiprocessor."""

OPERATION_RATE = 798e12
"""Operations a second in half precision, on all multiprocessors."""

MULTIPROCESSORS = 132

W_DIM = 512

TILE = 128
"""Rows and columns of a library's tiles."""


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: its name.
        size: height and width of the layer's output; 0 for styles.
        blocks: the number of blocks for the whole batch.
        floor: the bytes of every operand and result, once.
        emitted: the bytes that its blocks read and write through L2.
        operations: its floating-point operations.
        block_operations: those of a block, with what a tile computes past the map's edge.
        spec: its specification, for a kernel of this package.
    """

    kernel: str
    size: int
    blocks: int
    floor: float
    emitted: float
    operations: float
    block_operations: float
    spec: KernelSpec | None = None

    @property
    def seconds(self) -> float:
        """The calculated time."""
        busy = min(1.0, self.blocks / MULTIPROCESSORS)
        waves = ceil_div(self.blocks, MULTIPROCESSORS)
        arithmetic = waves * self.block_operations * MULTIPROCESSORS / OPERATION_RATE
        traffic = self.emitted / (L2_RATE * busy)
        return max(SMALL_LAUNCH, self.floor / MEMORY_RATE, traffic, arithmetic)


def generator_launches(channels: Mapping[int, int], batch: int, *, through_l1: bool = True) -> Iterator[Launch]:
    """Every launch for a batch, in order; ``channels`` gives the width by resolution.

    Without ``through_l1``, every tap of a fused convolution reads L2.
    """
    yield from style_launches(channels, batch)
    for size, width in sorted(channels.items()):
        below, last = channels.get(size // 2), size == max(channels)
        variant = ToRgbVariant(has_skip=below is not None, has_next=not last, quantised=last)
        if below is not None and size >= FUSED_FROM:
            yield _conv_up(KernelWorkload("conv_up", below, width, size), batch, through_l1=through_l1)
        elif below is not None:
            yield _library_convolution(KernelWorkload("library up-convolution", below, width, size), batch, phases=4)
            yield _tail(KernelWorkload("tail", width, width, size), batch)
        if size >= FUSED_FROM and width <= MAX_CHANNELS_OUT:
            yield _conv_rgb(KernelWorkload("conv_rgb", width, width, size, last), batch, variant, through_l1=through_l1)
        elif size <= DIVIDED_UP_TO:
            yield _conv_sums(KernelWorkload("conv_sums", width, width, size), batch)
            layer = KernelWorkload("to_rgb of sums", width, width, size, last)
            yield replace(_to_rgb(layer, batch, variant, sums=TAPS), kernel="to_rgb")
        else:
            yield _library_convolution(KernelWorkload("library convolution", width, width, size), batch)
            yield _to_rgb(KernelWorkload("to_rgb", width, width, size, last), batch, variant)


def style_launches(channels: Mapping[int, int], batch: int) -> Iterator[Launch]:
    """The launches that compute styles and demodulations, and the first map; each sample reads all weights."""
    widths_in, widths_out = convolution_widths(channels)
    style_widths = [*widths_in, *(width for _, width in sorted(channels.items()))]
    codes = styles_spec(2 * len(channels), W_DIM, len(style_blocks([0] * len(style_widths), style_widths)))
    blocks = demodulation_blocks(widths_in, widths_out)
    for layer, spec in zip(
        style_workloads(channels, W_DIM), (codes, demodulations_spec(max(widths_in), len(blocks))), strict=True
    ):
        yield _vector_product(layer, batch, spec)
    constant = 32 * widths_in[0] * (2 + batch)
    yield Launch("constant input", 4, ceil_div(batch * widths_in[0] * 16, 1024), constant, constant, 0, 0)


def _vector_product(layer: KernelWorkload, batch: int, spec: KernelSpec) -> Launch:
    return _own(layer, batch, spec, extra=layer.costs(batch)[0] * (batch - 1))


def _own(layer: KernelWorkload, batch: int, spec: KernelSpec, *, extra: float = 0) -> Launch:
    """A kernel of this package; its blocks read ``extra`` bytes beside those that are counted once."""
    floor, operations = layer.costs(batch)
    blocks = batch * prod(spec.grid)
    return Launch(layer.kernel, layer.size, blocks, floor, floor + extra, operations, operations / blocks, spec)


def _tail(layer: KernelWorkload, batch: int) -> Launch:
    spec = tail_spec(layer.channels_out, layer.size, layer.size, up=True, styled=True)
    rows, columns, channels = _sizes(spec, "ROWS", "BLOCK_W", "BLOCK_C")
    blocks = batch * prod(spec.grid)
    return _own(layer, batch, spec, extra=2 * blocks * channels * ((rows + 3) * (columns + 3) - rows * columns))


def _conv_rgb(layer: KernelWorkload, batch: int, variant: ToRgbVariant, *, through_l1: bool) -> Launch:
    spec = conv_rgb_spec(layer.channels_in, layer.channels_out, layer.size, layer.size, variant)
    height, width, columns = _sizes(spec, "TILE_H", "TILE_W", "BLOCK_O")
    pixels = (height + 2) * (width + 2) if through_l1 else 9 * height * width
    read = 2 * layer.channels_in * (pixels + 9 * columns)
    once = 2 * layer.channels_in * (batch * layer.size**2 + 9 * layer.channels_out)
    return _own(layer, batch, spec, extra=batch * prod(spec.grid) * read - once)


def _conv_up(layer: KernelWorkload, batch: int, *, through_l1: bool) -> Launch:
    spec = conv_up_spec(layer.channels_in, layer.channels_out, layer.size, layer.size)
    rows, width, columns = _sizes(spec, "ROWS", "BLOCK_W", "BLOCK_O")
    if through_l1:
        read = 2 * layer.channels_in * ((rows + 2) * (width + 2) + 9 * columns)
    else:
        read = 2 * layer.channels_in * (rows + 2) * 3 * (width + 3 * columns)
    once = 2 * layer.channels_in * (batch * layer.size**2 / 4 + 18 * layer.channels_out)
    return _own(layer, batch, spec, extra=batch * prod(spec.grid) * read - once)


def _conv_sums(layer: KernelWorkload, batch: int) -> Launch:
    ins, outs, pixels = layer.channels_in, layer.channels_out, batch * layer.size**2
    spec = conv_sums_spec(ins, outs, layer.size, layer.size)
    rows, columns = _sizes(spec, "BLOCK_P", "BLOCK_O")
    read, once = batch * prod(spec.grid) * 2 * ins * (rows + columns), 2 * ins * pixels + 18 * ins * outs
    return replace(_own(layer, batch, spec, extra=read - once), block_operations=2 * ins * rows * columns)


def _to_rgb(layer: KernelWorkload, batch: int, variant: ToRgbVariant, sums: int = 0) -> Launch:
    return _own(layer, batch, to_rgb_spec(layer.channels_out, layer.size, layer.size, variant, sums=sums))


def _library_convolution(layer: KernelWorkload, batch: int, *, phases: int = 1) -> Launch:
    floor, operations = layer.costs(batch)
    pixels = batch * layer.size**2 // phases
    blocks = phases * ceil_div(pixels, TILE) * ceil_div(layer.channels_out, TILE)
    padded = 18 * layer.channels_in * TILE * TILE / phases
    return Launch(layer.kernel, layer.size, blocks, floor, floor, operations, padded)


def _sizes(spec: KernelSpec, *names: str) -> tuple[int, ...]:
    return tuple(int(spec.constants[name] or 0) for name in names)
