"""Variants of the fused kernels, which the engine does not use: other tiles, pipelines, warps and kinds of copies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
        block_i: the number of input channels in one step of a convolution's sums.
        tile: the height and width of a block's pixels.
        stages, warps: see ``KernelSpec``.
    """

    copies: CacheLevel | None = None
    block_i: int | None = None
    tile: tuple[int, int] | None = None
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
        options = {name: value for name in ("stages", "warps") if (value := getattr(self, name)) is not None}
        varied = replace(spec, constants={**spec.constants, **constants}, **options)
        return replace(varied, grid=self._grid(varied)) if self.tile else varied

    def _constants(self) -> Iterator[tuple[str, int]]:
        if self.block_i is not None:
            yield "BLOCK_I", self.block_i
        if self.tile is not None:
            yield from zip(("TILE_H", "TILE_W"), self.tile, strict=True)

    @staticmethod
    def _grid(spec: KernelSpec) -> tuple[int, int]:
        from engines.kernels.launch import ceil_div

        size: Mapping[str, Any] = spec.constants
        return ceil_div(size["WIDTH"], size["TILE_W"]), ceil_div(size["HEIGHT"], size["TILE_H"])


AS_IS = KernelVariant()
CONVOLUTION_VARIANTS = (
    KernelVariant("ca"),
    KernelVariant("cg"),
    KernelVariant(block_i=64, stages=2),
    KernelVariant(block_i=16, stages=4),
    KernelVariant(stages=2),
    KernelVariant(stages=4),
    KernelVariant(warps=8),
)
TILE_VARIANTS = (KernelVariant(tile=(4, 32)), KernelVariant(tile=(16, 16)), KernelVariant(tile=(16, 8)))
"""For kernels whose blocks are tiles of pixels."""


@contextmanager
def launched_as(variant: KernelVariant) -> Iterator[None]:
    """Inside the block, all kernels are launched in a variant."""
    from engines.kernels.launch import KernelSpec

    as_usual: Callable[..., None] = KernelSpec.launch

    def launch(spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
        varied = variant.of(spec)
        if variant.copies is None:
            as_usual(varied, batch, operands)
        else:
            _launch_with_copies(variant.copies, varied, batch, operands)

    with patch.object(KernelSpec, "launch", launch):
        yield


def _launch_with_copies(level: CacheLevel, spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
    """Launch as ``KernelSpec.launch`` does, whatever that does to the copies' cache level."""
    tensors = {name: dtype and operands[name] for name, dtype in spec.pointers.items()}
    kernel: Any = spec.kernel
    with copied_by(level):
        kernel[(*spec.grid, batch)](**tensors, **spec.constants, **spec.options)


def copied_by(level: CacheLevel) -> AbstractContextManager[None]:
    """Inside the block, copies of 16 bytes to shared memory in kernels that are compiled have this cache level."""
    from engines.kernels.l1_copies import ptx_changed_by

    copy = re.compile(r"cp\.async\.c[ag](\.shared\S* \[[^\]]*\], \[[^\]]*\], 0x10\b)")
    return ptx_changed_by(partial(copy.sub, rf"cp.async.{level}\1"), f"the cache level of copies is {level}")
