"""Kernel specifications: a kernel with everything fixed but its tensors, to be launched or compiled ahead of time.

The parameters of every kernel are pointers, inputs before outputs, followed by constants; TensorRT passes a plugin's
tensors in that order. Only the grid's third dimension depends on the batch, so that one compiled kernel serves
any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import triton

from engines.kernels.l1_copies import copies_kept_in_l1

Function = TypeVar("Function", bound=Callable[..., object])
Constant = int | float | bool | None


def jit(function: Function) -> Function:
    """``triton.jit`` with a type signature."""
    return cast(Function, triton.jit(function))


@dataclass(frozen=True)
class KernelSpec:
    """A kernel, its specialisation and its launch geometry.

    Attributes:
        kernel: a function under ``jit``.
        pointers: the element type of each pointer parameter, in the kernel's order; None = an omitted operand.
        constants: the value of each constexpr parameter.
        grid: the number of blocks in x and y; z is the batch.
        warps: the number of warps of 32 threads per block.
        stages: the depth of the software pipeline in loops over matrix products.
    """

    kernel: Callable[..., object]
    pointers: Mapping[str, torch.dtype | None]
    constants: Mapping[str, Constant]
    grid: tuple[int, int]
    warps: int = 4
    stages: int = 1

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the pointers that are passed, in order."""
        return tuple(name for name, dtype in self.pointers.items() if dtype is not None)

    @property
    def options(self) -> dict[str, Any]:
        """Triton's compile options; without fusion, a FIR tap costs a product and a sum instead of one FMA."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}

    def launch(self, batch: int, operands: Mapping[str, torch.Tensor | None]) -> None:
        """Launch on the current CUDA stream; ``operands`` has a tensor for each of ``arguments``."""
        tensors = {name: dtype and operands[name] for name, dtype in self.pointers.items()}
        kernel: Any = self.kernel
        with copies_kept_in_l1():
            kernel[(*self.grid, batch)](**tensors, **self.constants, **self.options)


def ceil_div(size: int, block: int) -> int:
    """``size / block``, rounded up: the number of blocks that cover ``size``."""
    return -(-size // block)


def next_power_of_two(size: int, *, minimum: int = 1, maximum: int | None = None) -> int:
    """The smallest power of two that is at least ``size``, clamped to bounds that are powers of two themselves."""
    power = max(minimum, 1 << max(size - 1, 0).bit_length())
    return power if maximum is None else min(maximum, power)
