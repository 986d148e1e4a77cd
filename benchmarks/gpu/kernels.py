"""Times of the generator's kernels on its own layers, compared with the limits of the GPU's memory and arithmetic.

Inputs rotate through more memory than a GPU's cache holds, and the calls are replayed as one CUDA graph, so that
neither the host nor a warm cache affects these times.
"""

from __future__ import annotations

import os

import torch
import triton

from benchmarks.gpu.clock import device_times, graph_times
from benchmarks.gpu.kernel_calls import kernel_call
from benchmarks.gpu.variants import CacheLevel, KernelVariant, launched_as
from benchmarks.gpu.workloads import KernelWorkload
from engines.torch.engine import resolve_device

ROTATED_BYTES = 1 << 28
"""Bytes of inputs and outputs that are used in rotation; an H100 has 50 MB of L2 cache."""
MAX_ROTATED = 64


class KernelTimer:
    """Times kernels; lives in a process of its own."""

    def __init__(self, device: str, copies: CacheLevel | None = None) -> None:
        """Open a timer for variants of one kind of ``copies``, by which Triton 3.6 does not tell kernels apart."""
        if copies:
            os.environ["TRITON_CACHE_DIR"] = f"{triton.knobs.cache.dir}-{copies}"
        self._device = resolve_device(device)

    def copy(self, count: int, seconds: float) -> list[float]:
        """Milliseconds to copy ``count`` float16 numbers."""
        source = torch.randn(count, device=self._device, dtype=torch.float16)
        target = torch.empty_like(source)
        return device_times(lambda: target.copy_(source), self._device, seconds)

    def product(self, side: int, seconds: float) -> list[float]:
        """Milliseconds of the product of two float16 matrices [side, side]."""
        a, b = (torch.randn(side, side, device=self._device, dtype=torch.float16) for _ in range(2))
        device_times(lambda: a @ b, self._device, 0)
        return device_times(lambda: a @ b, self._device, seconds)

    @torch.inference_mode()
    def compile(self, workload: KernelWorkload, variant: KernelVariant) -> None:
        """Run a kernel once, which leaves it in Triton's cache for other processes."""
        with launched_as(variant):
            kernel_call(workload, 1, self._device)()

    @torch.inference_mode()
    def kernel(self, workload: KernelWorkload, variant: KernelVariant, batch: int, seconds: float) -> list[float]:
        """Milliseconds of a kernel whose inputs are in no cache."""
        moved, _ = workload.costs(batch)
        count = min(MAX_ROTATED, max(2, round(ROTATED_BYTES / moved))) if self._device.type == "cuda" else 1
        with launched_as(variant):
            return graph_times(
                [kernel_call(workload, batch, self._device) for _ in range(count)], self._device, seconds
            )
