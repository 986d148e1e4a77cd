"""The pSp and e4e encoders: IR-SE-50 with a feature pyramid and one style head per row of W+.

In pSp (Richardson et al., arXiv 2008.00951) each row is its head's output; in e4e (Tov et al., arXiv 2102.02766) only
the first row is, and the other heads give offsets from it. Both have the same parameters and names. All widths follow
from the tensors; the depth is that of IR-SE-50.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.weights import EncoderWeights

STAGE_UNITS = (3, 4, 14, 3)
PYRAMID_TAPS = (6, 20, 23)
"""The blocks after which the pyramid's three levels branch off: 1/4, 1/8 and 1/16 of the input size."""
COARSE_ROWS, MIDDLE_ROWS = 3, 7
"""Rows 0-2 come from the coarsest level, 3-6 from the middle one, the others from the finest."""


@dataclass(frozen=True)
class EncoderWidths:
    """Numbers of channels of the stem, of the four stages, and of each residual unit's squeeze."""

    stem: int
    stages: tuple[int, int, int, int]
    squeezed: tuple[int, ...]


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


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: y = x (W / sqrt(in))^T + b, where the stored W is unscaled."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.scaled_weight(), self.bias)

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gain of the equalised learning rate, [O, I]."""
        return self.weight / sqrt(self.weight.shape[1])


class StyleHead(nn.Module):
    """The map from features to one row of W+: 3x3 convolutions of stride 2 down to 1x1, then a linear layer."""

    def __init__(self, channels_in: int, w_dim: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(halvings):
            layers += [nn.Conv2d(channels_in if index == 0 else w_dim, w_dim, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, S, S] -> [N, D]
        row: Tensor = self.linear(self.convs(x).flatten(1))
        return row


class Encoder(nn.Module):
    """The encoder: aligned faces [N, 3, 256, 256] in -1..1 -> W+ codes [N, L, D], the average latent included."""

    latent_avg: Tensor

    def __init__(self, widths: EncoderWidths, rows: int, w_dim: int, kind: Literal["psp", "e4e"]) -> None:
        super().__init__()
        self.kind = kind
        stem, stages = widths.stem, widths.stages
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        blocks: list[nn.Module] = []
        channels = stem
        for stage, units in zip(stages, STAGE_UNITS, strict=True):
            for unit in range(units):
                blocks.append(Bottleneck(channels, stage, widths.squeezed[len(blocks)], stride=2 if unit == 0 else 1))
                channels = stage
        self.body = nn.Sequential(*blocks)
        self.styles = nn.ModuleList(StyleHead(stages[3], w_dim, 6 - level_of(row)) for row in range(rows))
        self.latlayer1 = nn.Conv2d(stages[2], stages[3], 1)
        self.latlayer2 = nn.Conv2d(stages[1], stages[3], 1)
        self.register_buffer("latent_avg", torch.zeros(rows, w_dim))

    def forward(self, x: Tensor) -> Tensor:
        levels = self.pyramid(x)
        rows = [head(levels[level_of(row)]) for row, head in enumerate(self.styles)]
        if self.kind == "e4e":
            rows = rows[:1] + [rows[0] + offset for offset in rows[1:]]
        return torch.stack(rows, 1) + self.latent_avg

    def pyramid(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return feature maps of 64x64, 32x32 and 16x16, the levels 0 to 2."""
        x = self.input_layer(x)
        taps = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in PYRAMID_TAPS:
                taps.append(x)
        middle = upsample_2x(taps[2]) + self.latlayer1(taps[1])
        fine = upsample_2x(middle) + self.latlayer2(taps[0])
        return fine, middle, taps[2]


def level_of(row: int) -> int:
    """Return the pyramid's level that a row's head reads: 0 for 64x64, 1 for 32x32, 2 for 16x16."""
    return 2 if row < COARSE_ROWS else 1 if row < MIDDLE_ROWS else 0


def upsample_2x(x: Tensor) -> Tensor:
    """Upsample by 2, bilinearly; pSp was trained with align_corners, and half-pixel sampling changes its features."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def input_from_face(face: Tensor) -> Tensor:
    """Convert faces to the encoder's input, uint8 RGB [N, 256, 256, 3] -> float32 [N, 3, 256, 256] in -1..1."""
    # TensorRT knows uint8 as an input of Cast only.
    return face.float().permute(0, 3, 1, 2) / 127.5 - 1


def encoder_from_weights(weights: EncoderWeights) -> Encoder:
    """Build an encoder with the widths that the tensors have, and load the tensors."""
    shapes = {name: value.shape for name, value in weights.tensors.items()}
    ends = [sum(STAGE_UNITS[: stage + 1]) - 1 for stage in range(4)]
    first, second, third, fourth = (shapes[f"body.{end}.res_layer.1.weight"][0] for end in ends)
    widths = EncoderWidths(
        stem=shapes["input_layer.0.weight"][0],
        stages=(first, second, third, fourth),
        squeezed=tuple(shapes[f"body.{k}.res_layer.5.fc1.weight"][0] for k in range(sum(STAGE_UNITS))),
    )
    with torch.device("meta"):  # random weights would take seconds, and are not needed
        encoder = Encoder(widths, weights.rows, weights.w_dim, weights.kind)
    tensors = {name: torch.from_numpy(value) for name, value in weights.tensors.items()}
    tensors["latent_avg"] = torch.from_numpy(weights.latent_avg)
    encoder.load_state_dict(tensors, assign=True)
    encoder.eval().requires_grad_(False)
    return encoder
