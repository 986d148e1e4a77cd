"""A generator's launches on a GPU and what they cost by counting: bytes, operations, and the time that follows.

Nothing here is measured. A launch on an H100 takes the longest of five times: that of a small launch; that of reading
and writing, once, what must be read and written; that of what its blocks read and write through L2, if every
multiprocessor has a block; those of its waves of blocks, each at a multiprocessor's share of the operations, and at the
rate of its shared memory.

What passes a multiprocessor's shared memory, which is one with L1: a copy to it is read from L1 and written, and a
product's operands are read, by each instruction of 64 rows unless they are kept in registers. Kernels without products
read little from it.

A library's convolution is taken as an implicit GEMM in tiles of 128 x 128 whose depth is not split, copied past L1 and
read from memory once: its tiles' traffic through L2 is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isqrt, prod

from benchmarks.gpu.workloads import KernelWorkload, convolution_widths, style_workloads
from engines.kernels.conv_rgb import MAX_CHANNELS_OUT, conv_rgb_spec
from engines.kernels.conv_sums import MOST_PIXELS, TAPS, conv_sums_spec
from engines.kernels.conv_up import conv_up_spec
from engines.kernels.launch import KernelSpec, ceil_div
from engines.kernels.rgb import ToRgbVariant
from engines.kernels.shared_memory import half_of
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

SHARED_RATE = 29.6e12
"""Bytes a second from and to the shared memory of all multiprocessors: 128 for each at 1.755 GHz."""

MULTIPROCESSORS = 132

BLOCK_BYTES = half_of(228 * 1024)
"""The most shared memory that a block takes, so that a multiprocessor holds two."""

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
        block_shared: the bytes from and to shared memory for a block's products.
    """

    kernel: str
    size: int
    blocks: int
    floor: float
    emitted: float
    operations: float
    block_operations: float
    spec: KernelSpec | None = None
    block_shared: float = 0

    @property
    def limits(self) -> dict[str, float]:
        """The seconds that each limit asks for."""
        busy = min(1.0, self.blocks / MULTIPROCESSORS)
        waves = ceil_div(self.blocks, MULTIPROCESSORS) * MULTIPROCESSORS
        return {
            "launch": SMALL_LAUNCH,
            "memory": self.floor / MEMORY_RATE,
            "L2": self.emitted / (L2_RATE * busy),
            "shared memory": waves * self.block_shared / SHARED_RATE,
            "products": waves * self.block_operations / OPERATION_RATE,
        }

    @property
    def limit(self) -> str:
        """The name of the narrowest limit."""
        return max(self.limits, key=self.limits.__getitem__)

    @property
    def seconds(self) -> float:
        """The calculated time: that of the narrowest limit."""
        return self.limits[self.limit]


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
        elif batch * size**2 <= MOST_PIXELS:
            yield _conv_sums(KernelWorkload("conv_sums", width, width, size), batch)
            yield _to_rgb(KernelWorkload("to_rgb of sums", width, width, size, last), batch, variant, sums=TAPS)
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


def _own(layer: KernelWorkload, batch: int, spec: KernelSpec, *, extra: float = 0, shared: float = 0) -> Launch:
    """A kernel of this package; its blocks read ``extra`` bytes beside those that are counted once."""
    floor, operations = layer.costs(batch)
    blocks = batch * prod(spec.grid)
    return Launch(layer.kernel, layer.size, blocks, floor, floor + extra, operations, operations / blocks, spec, shared)


def _tail(layer: KernelWorkload, batch: int) -> Launch:
    spec = tail_spec(layer.channels_out, layer.size, layer.size, up=True, styled=True)
    rows, columns, channels = _sizes(spec, "ROWS", "BLOCK_W", "BLOCK_C")
    blocks = batch * prod(spec.grid)
    return _own(layer, batch, spec, extra=2 * blocks * channels * ((rows + 3) * (columns + 3) - rows * columns))


def _conv_rgb(layer: KernelWorkload, batch: int, variant: ToRgbVariant, *, through_l1: bool) -> Launch:
    ins, outs, size = layer.channels_in, layer.channels_out, layer.size
    spec = conv_rgb_spec(ins, outs, size, size, variant, BLOCK_BYTES)
    if "ROWS" in spec.constants:
        return _conv_rgb_rows(layer, batch, spec, through_l1=through_l1)
    height, width, columns = _sizes(spec, "TILE_H", "TILE_W", "BLOCK_O")
    pixels = height * width
    read = 2 * ins * ((height + 2) * (width + 2) if through_l1 else 9 * pixels) + 18 * ins * columns
    shared = 9 * (_copied(pixels + columns, ins) + _multiplied(pixels, columns, ins)) + _exchanged(
        pixels, 0 if layer.last else outs
    )
    once = 2 * ins * (batch * size**2 + 9 * outs)
    return _own(layer, batch, spec, extra=batch * prod(spec.grid) * read - once, shared=shared)


def _conv_rgb_rows(layer: KernelWorkload, batch: int, spec: KernelSpec, *, through_l1: bool) -> Launch:
    ins, outs = layer.channels_in, layer.channels_out
    rows, width, columns = _sizes(spec, "ROWS", "BLOCK_W", "BLOCK_O")
    read = 2 * ins * ((rows + 2) * (width + 2 if through_l1 else 3 * width) + 9 * columns)
    once = 2 * ins * (batch * layer.size**2 + 9 * outs)
    row = 3 * (_copied(width, ins) + _multiplied(width, 3 * columns, ins)) + _exchanged(
        width, 0 if layer.last else outs
    )
    shared = (rows + 2) * row + 9 * _copied(columns, ins)
    launch = _own(layer, batch, spec, extra=batch * prod(spec.grid) * read - once, shared=shared)
    return replace(launch, block_operations=(rows + 2) * 18 * ins * width * columns)


def _conv_up(layer: KernelWorkload, batch: int, *, through_l1: bool) -> Launch:
    ins, size = layer.channels_in, layer.size
    spec = conv_up_spec(ins, layer.channels_out, size, size, block_bytes=BLOCK_BYTES)
    rows, width, columns, kept = _sizes(spec, "ROWS", "BLOCK_W", "BLOCK_O", "KEPT")
    weights = 9 * columns * (1 if kept or through_l1 else rows + 2)
    read = 2 * ins * ((rows + 2) * (width + 2 if through_l1 else 3 * width) + weights)
    once = 2 * ins * (batch * size**2 / 4 + 18 * layer.channels_out)
    products = _multiplied(width, 3 * columns, ins) if kept else 3 * _multiplied(width, columns, ins)
    row = 3 * (_copied(width, ins) + products) + 2 * _exchanged(width, columns)
    shared = (rows + 2) * row + (1 if kept else rows + 2) * 9 * _copied(columns, ins)
    launch = _own(layer, batch, spec, extra=batch * prod(spec.grid) * read - once, shared=shared)
    return replace(launch, block_operations=(rows + 2) * 18 * ins * width * columns)


def _conv_sums(layer: KernelWorkload, batch: int) -> Launch:
    ins, outs, pixels = layer.channels_in, layer.channels_out, batch * layer.size**2
    spec = conv_sums_spec(ins, outs, layer.size, layer.size)
    rows, columns = _sizes(spec, "BLOCK_P", "BLOCK_O")
    read, once = batch * prod(spec.grid) * 2 * ins * (rows + columns), 2 * ins * pixels + 18 * ins * outs
    shared = _copied(rows + columns, ins) + _multiplied(rows, columns, ins)
    launch = _own(layer, batch, spec, extra=read - once, shared=shared)
    return replace(launch, block_operations=2 * ins * rows * columns)


def _copied(vectors: int, depth: int) -> float:
    """The bytes in shared memory of vectors that are copied there: read from L1, and written."""
    return 4 * vectors * depth


def _multiplied(rows: int, columns: int, depth: int) -> float:
    """The bytes in shared memory that a product reads: its rows once, its columns for every 64 rows."""
    return 2 * depth * (rows + ceil_div(rows, 64) * columns)


def _exchanged(pixels: int, channels: int) -> float:
    """The bytes in shared memory of half-precision results that are written to maps: written and read there once."""
    return 4 * pixels * channels


def _to_rgb(layer: KernelWorkload, batch: int, variant: ToRgbVariant, sums: int = 0) -> Launch:
    return _own(layer, batch, to_rgb_spec(layer.channels_out, layer.size, layer.size, variant, sums=sums))


def _library_convolution(layer: KernelWorkload, batch: int, *, phases: int = 1) -> Launch:
    floor, operations = layer.costs(batch)
    pixels, depth = batch * layer.size**2 // phases, 9 * layer.channels_in / phases
    product = library_product(layer.kernel, layer.size, pixels, layer.channels_out, depth, floor, phases)
    return replace(product, operations=operations)


def library_product(
    kernel: str, size: int, rows: int, columns: int, depth: float, floor: float, times: int = 1
) -> Launch:
    """A library's matrix product or convolution: ``times`` products of rows and columns of this depth in one launch."""
    blocks = times * ceil_div(rows, TILE) * ceil_div(columns, TILE)
    shared = depth * (2 * 2 * TILE + _multiplied(TILE, TILE, 1))
    operations, padded = times * 2 * depth * rows * columns, 2 * depth * TILE * TILE
    return Launch(kernel, size, blocks, floor, floor, operations, padded, block_shared=shared)


def excitation_launch(spec: KernelSpec, batch: int) -> Launch:
    """The end of a residual unit, each of whose blocks reads the means and all weights."""
    channels, squeezed, pixels = _sizes(spec, "CHANNELS", "SQUEEZED", "PIXELS")
    blocks, weights = batch * prod(spec.grid), 4 * channels * squeezed
    floor = 2 * batch * channels * (3 * pixels + 1) + weights
    again = (blocks - 1) * weights + 2 * (blocks - batch) * channels
    operations = 2 * batch * pixels * channels + blocks * weights
    return Launch("excitation", isqrt(pixels), blocks, floor, floor + again, operations, operations / blocks, spec)


def _sizes(spec: KernelSpec, *names: str) -> tuple[int, ...]:
    return tuple(int(spec.constants[name] or 0) for name in names)
