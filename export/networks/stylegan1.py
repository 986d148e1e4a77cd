"""The reference: StyleGAN's generator of 2018 (Karras et al., arXiv 1812.04948), called StyleGAN1 here, for inference.

Every layer ends in noise, bias, leaky ReLU, instance normalisation and a style, which scales and shifts the channels
(adaptive instance normalisation). The picture is the toRGB output of the highest resolution; those of the others served
progressive growing only. Letters in shapes are those of ``export.networks.generator``.

The official code computes the upsampling convolutions from 128x128 on as transposed ones with a kernel of 4x4. These
equal a repetition of the pixels and a convolution with the flipped kernel, which is what the weights hold here.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.networks.generator import LEAKY_SLOPE, Affine, Mapping, StyleGenerator, load_weights
from export.weights import GeneratorWeights

ACTIVATION_GAIN = sqrt(2)
"""The gain of leaky ReLU, which is part of the weights."""
INSTANCE_EPSILON = 1e-8
"""Added to a channel's variance, as in the official code."""
TRUNCATED_ROWS = 8
"""Number of rows that the official code truncates (``truncation_cutoff``)."""


def blur_kernel() -> Tensor:
    """Return the low-pass filter [1,2,1] x [1,2,1] with sum 1, [3, 3]."""
    taps = torch.tensor([1.0, 2.0, 1.0])
    return torch.outer(taps, taps) / 16


class StyledLayer(nn.Module):
    """A 3x3 convolution, noise, bias, leaky ReLU, instance normalisation and a style; ``up`` doubles the size.

    With ``channels_in`` None there is no convolution, as after the constant input.
    """

    noise: Tensor
    blur: Tensor

    def __init__(self, channels_in: int | None, channels: int, w_dim: int, size: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.affine = Affine(w_dim, 2 * channels)
        self.weight = None if channels_in is None else nn.Parameter(torch.randn(channels, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise", torch.randn(size, size))
        self.register_buffer("blur", blur_kernel().expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N or 1, I, H, W], [N, D] -> [N, O, H or 2H, W or 2W]
        style: Tensor = self.affine(w)[:, :, None, None]
        scale, shift = style.chunk(2, 1)  # [N, O, 1, 1] each
        return self.normalised(x) * scale + shift

    def normalised(self, x: Tensor) -> Tensor:
        """Return what the style scales and shifts."""
        if self.weight is not None:
            x = functional.interpolate(x, scale_factor=2) if self.up else x
            x = functional.conv2d(x, self.scaled_weight(), padding=1)
        if self.up:
            x = functional.conv2d(x, self.blur, padding=1, groups=len(self.blur))
        x = x + self.noise * self.noise_strength[:, None, None] + self.bias[:, None, None]
        normalised: Tensor = functional.instance_norm(functional.leaky_relu(x, LEAKY_SLOPE), eps=INSTANCE_EPSILON)
        return normalised

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gains of the equalised learning rate and of the activation, [O, I, 3, 3]."""
        assert self.weight is not None
        return self.weight * (ACTIVATION_GAIN / sqrt(self.weight[0].numel()))

    def doubling_weight(self) -> Tensor:
        """Return the weight of an equal transposed convolution with stride 2 and padding 1, [I, O, 4, 4]."""
        flipped = functional.pad(self.scaled_weight().flip(2, 3), (1, 1, 1, 1))
        repeated = flipped[:, :, 1:, 1:] + flipped[:, :, :-1, 1:] + flipped[:, :, 1:, :-1] + flipped[:, :, :-1, :-1]
        return repeated.transpose(0, 1)


class PlainToRgb(nn.Module):
    """A 1x1 convolution without a style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, channels))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, 3, H, W]
        return functional.conv2d(x, self.scaled_weight()[:, :, None, None], self.bias)

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gain of the equalised learning rate, [3, I]."""
        return self.weight / sqrt(self.weight.shape[1])


class StyledBlock(nn.Module):
    """The layers of one resolution."""

    const: nn.Parameter
    rgb: PlainToRgb

    def __init__(self, channels_in: int, channels: int, w_dim: int, resolution: int, *, last: bool) -> None:
        super().__init__()
        lowest = resolution == 4
        if lowest:
            self.const = nn.Parameter(torch.ones(channels, 4, 4))
        self.up = StyledLayer(None if lowest else channels_in, channels, w_dim, resolution, up=not lowest)
        self.conv = StyledLayer(channels, channels, w_dim, resolution, up=False)
        if last:
            self.rgb = PlainToRgb(channels)


class StyleGan1(StyleGenerator):
    """StyleGAN1's generator; ``channels`` maps each resolution 4, 8, ..., R to its number of channels."""

    truncated_rows = TRUNCATED_ROWS

    def __init__(self, channels: dict[int, int], w_dim: int, *, z_dim: int = 0, mapping_depth: int = 0) -> None:
        super().__init__(Mapping(z_dim or w_dim, w_dim, mapping_depth))
        self.synthesis = nn.ModuleDict(
            {
                str(r): StyledBlock(channels.get(r // 2, 0), width, w_dim, r, last=r == max(channels))
                for r, width in sorted(channels.items())
            }
        )

    @property
    def blocks(self) -> Iterator[tuple[int, StyledBlock]]:
        """Pairs of resolution and block, lowest resolution first."""
        for name, block in self.synthesis.items():
            assert isinstance(block, StyledBlock)
            yield int(name), block

    def synthesise(self, w: Tensor) -> Tensor:
        rows = iter(w.unbind(1))
        x: Tensor = next(self.blocks)[1].const[None]  # [1, C, 4, 4]; the first style broadcasts it to N
        for _, block in self.blocks:
            x = block.conv(block.up(x, next(rows)), next(rows))
        image: Tensor = block.rgb(x)
        return image


def stylegan1_from_weights(weights: GeneratorWeights) -> StyleGan1:
    """Build a StyleGAN1 generator; see ``load_weights``."""
    generator = StyleGan1(weights.channels, weights.w_dim, z_dim=weights.z_dim, mapping_depth=weights.mapping_depth)
    load_weights(generator, weights)
    return generator
