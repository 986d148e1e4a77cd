"""A kernel with everything fixed but its tensors: what is launched here, and what is compiled ahead of time.

The parameters of every kernel are pointers, inputs before outputs, then constants; TensorRT passes a plugin's tensors
in that order. The batch is the grid's third dimension and nothing else depends on it, so that one compiled kernel
serves any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import triton

Function = TypeVar("Function", bound=Callable[..., object])
Constant = int | float | bool | None


def jit(function: Function) -> Function:
    """``triton.jit``, typed."""
    return cast(Function, triton.jit(function))


@dataclass(frozen=True)
class KernelSpec:
    """A kernel, its specialisation and its launch geometry.

    Attributes:
        kernel: a function under ``jit``.
        pointers: each pointer parameter's element type, in the kernel's order; None where the operand is left out.
        constants: each constexpr parameter's value.
        grid: blocks in x and y; z is the batch.
        warps: of 32 threads, in a block.
        stages: depth of the software pipeline in loops over matrix products.
    """

    kernel: Callable[..., object]
    pointers: Mapping[str, torch.dtype | None]
    constants: Mapping[str, Constant]
    grid: tuple[int, int]
    warps: int = 4
    stages: int = 1

    @property
    def arguments(self) -> tuple[str, ...]:
        """The pointers that are passed, in order."""
        return tuple(name for name, dtype in self.pointers.items() if dtype is not None)

    @property
    def options(self) -> dict[str, Any]:
        """Triton's compile options. Without fusion a FIR tap would cost a product and a sum instead of one FMA."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}

    def launch(self, batch: int, operands: Mapping[str, torch.Tensor | None]) -> None:
        """Run on the current CUDA stream; ``operands`` has a tensor for each of ``arguments``."""
        tensors = {name: dtype and operands[name] for name, dtype in self.pointers.items()}
        kernel: Any = self.kernel
        kernel[(*self.grid, batch)](**tensors, **self.constants, **self.options)


def ceil_div(size: int, block: int) -> int:
    """How many blocks cover ``size``."""
    return -(-size // block)


def next_power_of_two(size: int, *, minimum: int = 1, maximum: int) -> int:
    """The smallest power of two that is at least ``size``, within bounds that are powers of two themselves."""
    return max(minimum, min(maximum, 1 << max(size - 1, 0).bit_length()))
