"""The residual trunks of encoders: IR-SE-50, and the ResNet-34 of ReStyle's encoders for other domains than faces.

Both have four stages and halve a picture's side four times. Parameters keep the official names, except that ResNet-34's
``conv1``, ``bn1`` and ``relu`` are ``input_layer.0`` to ``input_layer.2``, like the same layers of IR-SE-50.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.weights import STAGE_UNITS, Trunk


@dataclass(frozen=True)
class TrunkWidths:
    """Numbers of channels of the input, of the stem and of the four stages.

    ``squeezed`` has the width of each residual unit's squeeze; ResNet-34 has none.
    """

    stem: int
    stages: tuple[int, int, int, int]
    squeezed: tuple[int, ...]
    inputs: int = 3

    @property
    def trunk(self) -> Trunk:
        return "irse50" if self.squeezed else "resnet34"


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation: each channel is multiplied by a gate that depends on the channels' global means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gates)


class Bottleneck(nn.Module):
    """A pre-activation residual unit with squeeze and excitation.

    The first batch normalisation cannot be folded into the convolution after it: that one is zero-padded, and its
    output would change at the border.
    """

    def __init__(self, channels_in: int, channels: int, squeezed: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if channels_in == channels
            else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcitation(channels, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out

    @property
    def is_idle(self) -> bool:
        """Whether the residual is 0 for every input, since the last batch normalisation gives nothing else."""
        last = self.res_layer[-2]
        assert isinstance(last, nn.BatchNorm2d)
        return not (last.weight.any() or last.bias.any())


class BasicBlock(nn.Module):
    """A residual unit of ResNet-34."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            None
            if channels_in == channels
            else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class TrunkNetwork(nn.Module):
    """A stem and residual units: pictures [N, C, 256, 256] -> feature maps."""

    def __init__(self, widths: TrunkWidths) -> None:
        super().__init__()
        self.input_layer = stem_of(widths)
        self.body = nn.Sequential(*_units(widths))
        *_, second, third, fourth = accumulate(STAGE_UNITS[widths.trunk])
        self.taps = (second - 1, third - 1, fourth - 1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps after the second, third and fourth stage: 64x64, 32x32 and 16x16."""
        x = self.input_layer(x)
        taps = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in self.taps:
                taps.append(x)
        return taps


def leave_idle_residuals_out(network: TrunkNetwork) -> None:
    """Replace residual units whose residual is always 0 by their shortcuts; the network's output does not change."""
    for name, unit in network.body.named_children():
        if isinstance(unit, Bottleneck) and unit.is_idle:
            network.body.add_module(name, unit.shortcut_layer)


def stem_of(widths: TrunkWidths) -> nn.Sequential:
    """Return the first convolution, its normalisation and its activation; that of ResNet-34 halves the side."""
    taps, stride, padding = (3, 1, 1) if widths.trunk == "irse50" else (7, 2, 3)
    convolution = nn.Conv2d(widths.inputs, widths.stem, taps, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(widths.stem), nn.PReLU(widths.stem))


def _units(widths: TrunkWidths) -> Iterator[nn.Module]:
    channels, squeezed = widths.stem, iter(widths.squeezed)
    for stage, (width, units) in enumerate(zip(widths.stages, STAGE_UNITS[widths.trunk], strict=True)):
        for unit in range(units):
            if widths.trunk == "irse50":
                yield Bottleneck(channels, width, next(squeezed), stride=2 if unit == 0 else 1)
            else:
                yield BasicBlock(channels, width, stride=2 if unit == 0 and stage else 1)
            channels = width
