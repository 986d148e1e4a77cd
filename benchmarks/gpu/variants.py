"""Variants of the fused kernels, which the engine does not use: other blocks, pipelines, warps and kinds of copies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

if TYPE_CHECKING:
    from torch import Tensor

    from engines.kernels.launch import KernelSpec

CacheLevel = Literal["ca", "cg"]
"""Whether copies to shared memory are kept in L1 (ca) or go past it (cg)."""


@dataclass(frozen=True)
class KernelVariant:
    """What differs from a kernel as the engine launches it; None leaves it as it is.

    Attributes:
        copies: the cache level of copies of 16 bytes to shared memory, which may have either.
        shared_kib: the most shared memory of a block; with 0, no weights are kept there.
        block_i: the number of input channels in one step of a convolution's sums, if its weights are not kept.
        tile: the height and width of a block's pixels.
        rows: the number of rows that a block walks down.
        stages, warps: see ``KernelSpec``.
    """

    copies: CacheLevel | None = None
    shared_kib: int | None = None
    block_i: int | None = None
    tile: tuple[int, int] | None = None
    rows: int | None = None
    stages: int | None = None
    warps: int | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items() if value is not None)

    def of(self, spec: KernelSpec) -> KernelSpec:
        """The variant of a launch.

        Raises:
            ValueError: the kernel has no such parameter.
        """
        constants = dict(self._constants())
        if missing := constants.keys() - spec.constants.keys():
            raise ValueError(f"the kernel has no {', '.join(sorted(missing))}")
        if "BLOCK_I" in constants and spec.constants.get("KEPT"):
            raise ValueError("the kernel keeps its weights, for which BLOCK_I has to be all channels")
        options = {name: value for name in ("stages", "warps") if (value := getattr(self, name)) is not None}
        varied = replace(spec, constants={**spec.constants, **constants}, **options)
        if self.tile:
            return replace(varied, grid=self._tiles(varied))
        return replace(varied, grid=self._strips(spec, self.rows)) if self.rows else varied

    def _constants(self) -> Iterator[tuple[str, int]]:
        if self.block_i is not None:
            yield "BLOCK_I", self.block_i
        if self.tile is not None:
            yield from zip(("TILE_H", "TILE_W"), self.tile, strict=True)
        if self.rows is not None:
            yield "ROWS", self.rows

    @staticmethod
    def _strips(spec: KernelSpec, rows: int) -> tuple[int, int]:
        from engines.kernels.launch import ceil_div

        size: Mapping[str, Any] = spec.constants
        columns, strips = spec.grid
        return columns, ceil_div(strips * size["ROWS"], rows)

    @staticmethod
    def _tiles(spec: KernelSpec) -> tuple[int, int]:
        from engines.kernels.launch import ceil_div

        size: Mapping[str, Any] = spec.constants
        return ceil_div(size["WIDTH"], size["TILE_W"]), ceil_div(size["HEIGHT"], size["TILE_H"])


AS_IS = KernelVariant()
CONVOLUTION_VARIANTS = (
    KernelVariant("ca"),
    KernelVariant("cg"),
    KernelVariant(shared_kib=0),
    KernelVariant(shared_kib=224),
    KernelVariant(shared_kib=0, block_i=64, stages=2),
    KernelVariant(shared_kib=0, block_i=16, stages=4),
    KernelVariant(stages=4),
    KernelVariant(warps=8),
)
ROW_VARIANTS = (KernelVariant(rows=8),)
"""For kernels whose blocks walk down rows, as both do where weights are kept."""

TILE_VARIANTS = tuple(KernelVariant(shared_kib=0, tile=tile) for tile in ((4, 32), (16, 16), (16, 8)))
"""For ``conv_rgb``, whose blocks are tiles of pixels where weights are not kept."""


@contextmanager
def launched_as(variant: KernelVariant) -> Iterator[None]:
    """Inside the block, all kernels are launched in a variant."""
    from engines.kernels import shared_memory
    from engines.kernels.launch import KernelSpec

    as_usual: Callable[..., None] = KernelSpec.launch

    def launch(spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
        varied = variant.of(spec)
        if variant.copies is None:
            as_usual(varied, batch, operands)
        else:
            _launch_with_copies(variant.copies, varied, batch, operands)

    with ExitStack() as stack:
        stack.enter_context(patch.object(KernelSpec, "launch", launch))
        if variant.shared_kib is not None:
            stack.enter_context(patch.object(shared_memory, "block_bytes", return_value=1024 * variant.shared_kib))
        yield


def _launch_with_copies(level: CacheLevel, spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
    """Launch as ``KernelSpec.launch`` does, whatever that does to the copies' cache level."""
    tensors = {name: dtype and operands[name] for name, dtype in spec.pointers.items()}
    kernel: Any = spec.kernel
    with copied_by(level):
        kernel[(*spec.grid, batch)](**tensors, **spec.constants, **spec.options)


def copied_by(level: CacheLevel) -> AbstractContextManager[None]:
    """Inside the block, copies of 16 bytes to shared memory in kernels that are compiled have this cache level."""
    from engines.kernels.l1_copies import fence_copies, ptx_changed_by

    copy = re.compile(r"cp\.async\.c[ag](\.shared\S* \[[^\]]*\], \[[^\]]*\], 0x10\b)")
    return ptx_changed_by(
        lambda ptx: fence_copies(copy.sub(rf"cp.async.{level}\1", ptx)), f"the cache level of copies is {level}"
    )
