"""Calls of the generator's kernels with random operands."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.gpu.workloads import KernelWorkload


def kernel_call(layer: KernelWorkload, batch: int, device: torch.device) -> Callable[[], object]:
    """Return a function that launches a kernel on operands of its own."""
    # Imported here, since Triton decides at its import whether it interprets kernels.
    from engines.kernels.conv_rgb import conv_rgb
    from engines.kernels.conv_sums import TAPS, conv_sums
    from engines.kernels.conv_up import conv_up
    from engines.kernels.operands import Activation, channels_last
    from engines.kernels.rgb import ToRgbOperands
    from engines.kernels.tail import tail
    from engines.kernels.to_rgb import to_rgb
    from engines.kernels.weights import normalise_weight

    if layer.kernel in ("styles", "demodulations"):
        return _style_call(layer, batch, device)

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
    if layer.kernel.startswith("to_rgb"):
        x = normal(TAPS, batch, size, size, outs) if "sums" in layer.kernel else maps(outs, size)
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
    if layer.kernel == "conv_sums":
        return lambda: conv_sums(x, half)
    if up:
        half = channels_last(half.transpose(0, 1))
        return lambda: functional.conv_transpose2d(x, half, stride=2)
    return lambda: functional.conv2d(x, half, padding=1)


def _style_call(layer: KernelWorkload, batch: int, device: torch.device) -> Callable[[], object]:
    """All weights belong to one layer, or for demodulations to layers of the widest kind, whose padding is read too."""
    from engines.kernels.styles import demodulation_blocks, demodulations, style_blocks, styles

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    def table(lines: list[tuple[int, ...]]) -> torch.Tensor:
        return torch.tensor(lines, dtype=torch.int32, device=device)

    ins, outs = layer.channels_in, layer.channels_out
    weight, bias = normal(outs, ins).half(), normal(outs)
    if layer.kernel == "styles":
        w, psi, w_avg, blocks = normal(batch, 1, ins), normal(batch, 1), normal(ins), table(style_blocks([0], [outs]))
        return lambda: styles(w, psi, w_avg, weight, bias, blocks)
    widths_out = [min(ins, outs - start) for start in range(0, outs, ins)]
    widths_in = [ins] * len(widths_out)
    raw, blocks = normal(batch * sum(widths_in)), table(demodulation_blocks(widths_in, widths_out))
    squares, epsilon = weight.square(), bias.square()
    return lambda: demodulations(raw, squares, epsilon, blocks, batch, sum(widths_in))
