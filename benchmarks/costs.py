"""What a generator must compute and move, counted from its channel schedule.

Counted are the 3x3 and the toRGB convolutions. A stride-2 transposed convolution has 9 products for each *input*
position: counts that take its output's size instead are four times larger there, and nearly twice as large in all.
The FIR filters (1.4 % more), styles and demodulation are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates and bytes, where the latter are counted."""

    macs: float
    bytes: float | None = None


@dataclass(frozen=True)
class Convolution:
    """One convolution of one picture."""

    taps: int
    channels_in: int
    channels_out: int
    size_in: int
    size_out: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates: at the smaller of the two sizes, which for a transposed convolution is the input's."""
        return self.taps * self.channels_in * self.channels_out * self.size_in**2

    @property
    def numbers(self) -> int:
        """Elements of its input, its output and its weight."""
        maps = self.channels_in * self.size_in**2 + self.channels_out * self.size_out**2
        return maps + self.taps * self.channels_in * self.channels_out


def generator_convolutions(channels: Mapping[int, int]) -> Iterator[Convolution]:
    """Every convolution of a generator with these widths at the resolutions 4, 8, ..., R."""
    for size, width in sorted(channels.items()):
        if size > 4:
            yield Convolution(9, channels[size // 2], width, size // 2, size)
        yield Convolution(9, width, width, size, size)
        yield Convolution(1, width, 3, size, size)


def generator_macs(channels: Mapping[int, int]) -> int:
    """Multiply-accumulates for one picture."""
    return sum(convolution.macs for convolution in generator_convolutions(channels))


def generator_bytes(channels: Mapping[int, int]) -> int:
    """Bytes for one picture in float32 where every convolution is one pass: its maps and its weight, once each."""
    return 4 * sum(convolution.numbers for convolution in generator_convolutions(channels))
