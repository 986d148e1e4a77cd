"""Encoders of faces into W+: those of pSp and e4e, and the simpler ones beside them.

In pSp (Richardson et al., arXiv 2008.00951) each row is its style head's output; in e4e (Tov et al., arXiv 2102.02766)
only the first row is, and the other heads give offsets from it. Both have the same parameters and names. Their heads
read a feature pyramid; those of ReStyle's encoders (Alaluf et al., arXiv 2104.02699) all read the last map. Other
encoders have no style heads: one gives a single code for all rows, one gives all rows by one linear layer. All widths
follow from the tensors.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.networks.trunk import TrunkNetwork, TrunkWidths
from export.weights import POOLED, STAGE_UNITS, EncoderKind, EncoderWeights

COARSE_ROWS, MIDDLE_ROWS = 3, 7
"""Rows 0-2 come from the coarsest level, 3-6 from the middle one, the others from the finest."""
LAST = 2
"""The level of the trunk's last map; a style head halves the map of level n 6 - n times."""


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


class Encoder(TrunkNetwork):
    """The common part: pictures [N, C, 256, 256] in -1..1 -> W+ codes [N, L, D], the average latent included."""

    latent_avg: Tensor

    def __init__(self, widths: TrunkWidths, rows: int, w_dim: int) -> None:
        super().__init__(widths)
        self.register_buffer("latent_avg", torch.zeros(rows, w_dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.codes(x) + self.latent_avg

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes without the average latent, [N, L, D] or, if all rows are equal, [N, 1, D]."""
        raise NotImplementedError


class HeadsEncoder(Encoder):
    """An encoder with one style head for each row; without a ``pyramid`` all heads read the last map."""

    def __init__(self, widths: TrunkWidths, rows: int, w_dim: int, kind: EncoderKind, *, pyramid: bool = True) -> None:
        super().__init__(widths, rows, w_dim)
        self.kind, self.pyramid = kind, pyramid
        _, second, third, fourth = widths.stages
        self.styles = nn.ModuleList(StyleHead(fourth, w_dim, 6 - self.level_of(row)) for row in range(rows))
        if pyramid:
            self.latlayer1 = nn.Conv2d(third, fourth, 1)
            self.latlayer2 = nn.Conv2d(second, fourth, 1)

    def codes(self, x: Tensor) -> Tensor:
        levels = self.levels(x)
        rows = [head(levels[self.level_of(row)]) for row, head in enumerate(self.styles)]
        if self.kind == "e4e":
            rows = rows[:1] + [rows[0] + offset for offset in rows[1:]]
        return torch.stack(rows, 1)

    def level_of(self, row: int) -> int:
        """Return the level that a row's head reads: 0 for 64x64, 1 for 32x32, 2 for 16x16."""
        if not self.pyramid:
            return LAST
        return 2 if row < COARSE_ROWS else 1 if row < MIDDLE_ROWS else 0

    def levels(self, x: Tensor) -> dict[int, Tensor]:
        """Return the feature maps by level."""
        taps = self.maps(x)
        levels = {LAST: taps[2]}
        if self.pyramid:
            levels[1] = upsample_2x(taps[2]) + self.latlayer1(taps[1])
            levels[0] = upsample_2x(levels[1]) + self.latlayer2(taps[0])
        return levels


class OneCodeEncoder(Encoder):
    """An encoder of one code for all rows: ``BackboneEncoderUsingLastLayerIntoW``, e4e's ``SingleStyleCodeEncoder``."""

    def __init__(self, widths: TrunkWidths, rows: int, w_dim: int) -> None:
        super().__init__(widths, rows, w_dim)
        self.linear = EqualLinear(widths.stages[-1], w_dim)

    def codes(self, x: Tensor) -> Tensor:
        code: Tensor = self.linear(self.maps(x)[LAST].mean((2, 3)))
        return code[:, None]


class AllRowsEncoder(Encoder):
    """An encoder of all rows by one linear layer: ``BackboneEncoderUsingLastLayerIntoWPlus``."""

    def __init__(self, widths: TrunkWidths, rows: int, w_dim: int) -> None:
        super().__init__(widths, rows, w_dim)
        channels = widths.stages[-1]
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.Linear(channels * POOLED**2, w_dim),
        )
        self.linear = EqualLinear(w_dim, w_dim * rows)

    def codes(self, x: Tensor) -> Tensor:
        codes: Tensor = self.linear(self.output_layer_2(self.maps(x)[LAST]))
        return codes.reshape(-1, *self.latent_avg.shape)


def upsample_2x(x: Tensor) -> Tensor:
    """Upsample by 2, bilinearly; pSp was trained with align_corners, and half-pixel sampling changes its features."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def input_from_face(face: Tensor) -> Tensor:
    """Convert faces to the encoder's input, uint8 RGB [N, 256, 256, 3] -> float32 [N, 3, 256, 256] in -1..1."""
    # TensorRT knows uint8 as an input of Cast only.
    return face.float().permute(0, 3, 1, 2) / 127.5 - 1


def encoder_from_weights(weights: EncoderWeights) -> Encoder:
    """Build an encoder with the widths that the tensors have, and load the tensors; its decoder is left aside."""
    with torch.device("meta"):  # random weights would take seconds, and are not needed
        encoder = _network(weights)
    tensors = {name: torch.from_numpy(value) for name, value in weights.tensors.items()}
    tensors["latent_avg"] = torch.from_numpy(weights.latent_avg)
    encoder.load_state_dict(tensors, assign=True)
    encoder.eval().requires_grad_(False)
    return encoder


def _network(weights: EncoderWeights) -> Encoder:
    sizes = _widths(weights), weights.rows, weights.w_dim
    match weights.heads:
        case "one":
            return OneCodeEncoder(*sizes)
        case "all":
            return AllRowsEncoder(*sizes)
        case heads:
            return HeadsEncoder(*sizes, weights.kind, pyramid=heads == "pyramid")


def _widths(weights: EncoderWeights) -> TrunkWidths:
    shapes = {name: value.shape for name, value in weights.tensors.items()}
    units = STAGE_UNITS[weights.trunk]
    last = "res_layer.1.weight" if weights.trunk == "irse50" else "conv2.weight"
    first, second, third, fourth = (shapes[f"body.{sum(units[: n + 1]) - 1}.{last}"][0] for n in range(4))
    squeezes = (f"body.{unit}.res_layer.5.fc1.weight" for unit in range(sum(units)))
    stem, inputs, *_ = shapes["input_layer.0.weight"]
    squeezed = tuple(shapes[name][0] for name in squeezes) if weights.trunk == "irse50" else ()
    return TrunkWidths(stem, (first, second, third, fourth), squeezed, inputs)
