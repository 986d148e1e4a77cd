"""Times of the generator's kernels on its own layers, compared with the limits of the GPU's memory and arithmetic.

Inputs rotate through more memory than a GPU's cache holds, and the calls are replayed as one CUDA graph, so that
neither the host nor a warm cache affects these times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
import triton
from torch.nn import functional

from benchmarks.gpu.clock import device_times, graph_times
from benchmarks.gpu.variants import CacheLevel, KernelVariant, launched_as
from engines.torch.engine import resolve_device
from engines.torch.layer_backends import FUSED_FROM

ROTATED_BYTES = 1 << 28
"""Bytes of inputs and outputs that are used in rotation; an H100 has 50 MB of L2 cache."""
MAX_ROTATED = 64


@dataclass(frozen=True)
class KernelWorkload:
    """A kernel with the sizes of a layer.

    Attributes:
        size: height and width of the output.
        last: whether the layer is the last one, whose output is the picture.
    """

    kernel: str
    channels_in: int
    channels_out: int
    size: int
    last: bool = False

    def __str__(self) -> str:
        return f"{self.kernel}, {self.channels_in} to {self.channels_out} channels, {self.size}x{self.size}"

    def costs(self, batch: int) -> tuple[float, float]:
        """Bytes and operations, counted as in each kernel's docstring; a convolution's weights are counted once."""
        pixels = batch * self.size**2
        ins, outs = self.channels_in, self.channels_out
        products, weights, noise = ins * outs * pixels, 18 * ins * outs, 2 * self.size**2
        colours = pixels * (3 + (3 if self.last else 12))
        followed = 0 if self.last else 2 * outs * pixels
        return {
            "tail": (4 * outs * pixels + noise, 20 * outs * pixels),
            "to_rgb": (2 * outs * pixels + followed + noise + colours, 13 * outs * pixels),
            "conv_up": (ins * pixels / 2 + 2 * outs * pixels + noise + 2 * weights, 9 * products + 13 * outs * pixels),
            "conv_rgb": (2 * ins * pixels + followed + noise + colours + weights, 18 * products + 13 * outs * pixels),
            "library convolution": (2 * (ins + outs) * pixels + weights, 18 * products),
            "library up-convolution": ((ins / 2 + 2 * outs) * pixels + weights, 4.5 * products),
        }[self.kernel]


def kernel_workloads(
    channels: Mapping[int, int], lowest: int, fused_from: int = FUSED_FROM
) -> Iterator[KernelWorkload]:
    """The kernels of a generator from the resolution ``lowest`` on; ``channels`` gives the width by resolution."""
    for size, width in sorted(channels.items()):
        if size >= max(lowest, 8):
            below, last = channels[size // 2], size == max(channels)
            if size >= fused_from:
                yield KernelWorkload("conv_up", below, width, size)
                yield KernelWorkload("conv_rgb", width, width, size, last)
            else:
                yield KernelWorkload("library up-convolution", below, width, size)
                yield KernelWorkload("tail", width, width, size)
                yield KernelWorkload("library convolution", width, width, size)
                yield KernelWorkload("to_rgb", width, width, size, last)


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
            _call(workload, 1, self._device)()

    @torch.inference_mode()
    def kernel(self, workload: KernelWorkload, variant: KernelVariant, batch: int, seconds: float) -> list[float]:
        """Milliseconds of a kernel whose inputs are in no cache."""
        moved, _ = workload.costs(batch)
        count = min(MAX_ROTATED, max(2, round(ROTATED_BYTES / moved))) if self._device.type == "cuda" else 1
        with launched_as(variant):
            return graph_times([_call(workload, batch, self._device) for _ in range(count)], self._device, seconds)


def _call(layer: KernelWorkload, batch: int, device: torch.device) -> Callable[[], object]:
    # Imported here, since Triton decides at its import whether it interprets kernels.
    from engines.kernels.conv_rgb import conv_rgb
    from engines.kernels.conv_up import conv_up
    from engines.kernels.operands import Activation, channels_last
    from engines.kernels.rgb import ToRgbOperands
    from engines.kernels.tail import tail
    from engines.kernels.to_rgb import to_rgb
    from engines.kernels.weights import normalise_weight

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    def maps(channels: int, height: int) -> torch.Tensor:
        return channels_last(normal(batch, channels, height, height).half())

    ins, outs, size = layer.channels_in, layer.channels_out, layer.size
    activation = Activation(normal(batch, outs), normal(size, size).half(), normal(outs))
    style = normal(batch, outs)
    rgb = ToRgbOperands(
        normal(3, outs),
        style,
        normal(3),
        skip=normal(batch, 3, size // 2, size // 2),
        next_style=None if layer.last else style,
        quantised=layer.last,
    )
    if layer.kernel == "tail":
        x = maps(outs, size + 1)
        return lambda: tail(x, activation, style=style, up=True)
    if layer.kernel == "to_rgb":
        x = maps(outs, size)
        return lambda: to_rgb(x, rgb, activation)
    weight = normalise_weight(normal(outs, ins, 3, 3) / (9 * ins) ** 0.5)
    up = "up" in layer.kernel
    x = maps(ins, size // 2 if up else size)
    if layer.kernel == "conv_up":
        merged = weight.half_merged
        return lambda: conv_up(x, merged, activation, style)
    half = weight.half
    if layer.kernel == "conv_rgb":
        return lambda: conv_rgb(x, half, activation, rgb)
    if up:
        half = channels_last(half.transpose(0, 1))
        return lambda: functional.conv_transpose2d(x, half, stride=2)
    return lambda: functional.conv2d(x, half, padding=1)
