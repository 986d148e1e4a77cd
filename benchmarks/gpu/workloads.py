"""The generator's kernels with the sizes of its layers, and what each of them must read, write and compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from engines.kernels.conv_sums import MOST_PIXELS, TAPS
from engines.torch.layer_backends import FUSED_FROM


@dataclass(frozen=True)
class KernelWorkload:
    """A kernel with the sizes of a layer.

    For ``styles`` the channels are the width of w and the sum of all layers' channels; for ``demodulations`` those of
    the widest layer and the sum of all convolutions' output channels.

    Attributes:
        size: height and width of the output; 0 where there is no map.
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
        sums = 4 * TAPS * outs * pixels
        return {
            "styles": (2 * ins * outs, 2 * batch * ins * outs),
            "demodulations": (2 * ins * outs, 2 * batch * ins * outs),
            "conv_sums": (2 * ins * pixels + weights + sums, 18 * products),
            "to_rgb of sums": (sums + followed + noise + colours, 13 * outs * pixels),
            "tail": (4 * outs * pixels + noise, 20 * outs * pixels),
            "to_rgb": (2 * outs * pixels + followed + noise + colours, 13 * outs * pixels),
            "conv_up": (ins * pixels / 2 + 2 * outs * pixels + noise + 2 * weights, 9 * products + 13 * outs * pixels),
            "conv_rgb": (2 * ins * pixels + followed + noise + colours + weights, 18 * products + 13 * outs * pixels),
            "library convolution": (2 * (ins + outs) * pixels + weights, 18 * products),
            "library up-convolution": ((ins / 2 + 2 * outs) * pixels + weights, 4.5 * products),
        }[self.kernel]


def kernel_workloads(
    channels: Mapping[int, int], lowest: int, fused_from: int = FUSED_FROM, batch: int = 1
) -> Iterator[KernelWorkload]:
    """The kernels of a generator from the resolution ``lowest`` on; ``channels`` gives the width by resolution."""
    for size, width in sorted(channels.items()):
        if size >= lowest:
            below, last = channels.get(size // 2), size == max(channels)
            if below is not None and size >= fused_from:
                yield KernelWorkload("conv_up", below, width, size)
            elif below is not None:
                yield KernelWorkload("library up-convolution", below, width, size)
                yield KernelWorkload("tail", width, width, size)
            if size >= fused_from:
                yield KernelWorkload("conv_rgb", width, width, size, last)
            elif batch * size**2 <= MOST_PIXELS:
                yield KernelWorkload("conv_sums", width, width, size)
                yield KernelWorkload("to_rgb of sums", width, width, size, last)
            else:
                yield KernelWorkload("library convolution", width, width, size)
                yield KernelWorkload("to_rgb", width, width, size, last)


def style_workloads(channels: Mapping[int, int], w_dim: int) -> tuple[KernelWorkload, KernelWorkload]:
    """The two kernels of all layers' styles and demodulations."""
    widths_in, widths_out = convolution_widths(channels)
    return (
        KernelWorkload("styles", w_dim, sum(widths_in) + sum(channels.values()), 0),
        KernelWorkload("demodulations", max(widths_in), sum(widths_out), 0),
    )


def convolution_widths(channels: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """The input and the output channels of a generator's convolutions, in order."""
    widths = [width for _, width in sorted(channels.items())]
    widths_in = [widths[0], *(width for pair in pairwise(widths) for width in pair)]
    return widths_in, [widths[0], *(width for width in widths[1:] for _ in range(2))]
