"""Multiply-accumulates and memory traffic of a generator, counted from its channel schedule.

The count includes the 3x3 and the toRGB convolutions. A stride-2 transposed convolution has 9 products for each *input*
position: a count at its output's size would be four times larger there, and nearly twice as large in total.
The FIR filters (1.4 % more), styles and demodulation are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates, and the bytes that are read and written; ``bytes`` is None where they are not counted."""

    macs: float
    bytes: float | None = None


@dataclass(frozen=True)
class ConvolutionShape:
    """Kernel taps, channels and side lengths of one convolution, for one picture."""

    taps: int
    channels_in: int
    channels_out: int
    size_in: int
    size_out: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates, counted at the input's size, which is the smaller one of a transposed convolution."""
        return self.taps * self.channels_in * self.channels_out * self.size_in**2

    @property
    def elements(self) -> int:
        """Elements of the input, the output and the weight together."""
        maps = self.channels_in * self.size_in**2 + self.channels_out * self.size_out**2
        return maps + self.taps * self.channels_in * self.channels_out


def generator_convolutions(channels: Mapping[int, int]) -> Iterator[ConvolutionShape]:
    """Every convolution of a generator; ``channels`` gives the width at each of the resolutions 4, 8, ..., R."""
    for size, width in sorted(channels.items()):
        if size > 4:
            yield ConvolutionShape(9, channels[size // 2], width, size // 2, size)
        yield ConvolutionShape(9, width, width, size, size)
        yield ConvolutionShape(1, width, 3, size, size)


def generator_macs(channels: Mapping[int, int]) -> int:
    """Multiply-accumulates for one picture."""
    return sum(convolution.macs for convolution in generator_convolutions(channels))


def generator_bytes(channels: Mapping[int, int]) -> int:
    """Bytes for one picture in float32: every convolution reads input and weight once and writes its output once."""
    return 4 * sum(convolution.elements for convolution in generator_convolutions(channels))
