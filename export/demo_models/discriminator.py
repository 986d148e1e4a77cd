"""The adversarial loss of the generators' last stages, which sharpens what regression alone leaves blurred.

Where a contour may lie a pixel off, the absolute error is least for a blurred one. A patch discriminator learns
that renderings have no such contours. Its features, compared between a picture and its rendering, keep the generator
near that rendering (feature matching: Wang et al., arXiv 1711.11585).
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from export.networks.generator import ACTIVATION_GAIN, LEAKY_SLOPE

WIDTHS = (3, 24, 40, 48, 48)
STRIDES = (2, 2, 2, 1)
MATCHING_WEIGHT = 10.0
"""Loss weight of feature matching, where the adversarial part has 1 (as pix2pixHD has it)."""
PERTURBATION = 0.02
"""Standard deviation of noise in pictures in -1..1 that shall not change the discriminator's output."""
PENALTY_WEIGHT = 100.0
"""Loss weight of that change: an R1 penalty without second derivatives (Lin et al., arXiv 2501.08316)."""


class Convolution(nn.Module):
    """A 3x3 convolution with bias and equalised learning rate."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, H / stride, W / stride]
        return functional.conv2d(x, self.weight / sqrt(self.weight[0].numel()), self.bias, self.stride, padding=1)


class Discriminator(nn.Module):
    """A network that tells renderings from generated pictures by their patches of 47 x 47 pixels."""

    def __init__(self) -> None:
        super().__init__()
        channels = zip(pairwise(WIDTHS), STRIDES, strict=True)
        self.levels = nn.ModuleList(Convolution(*pair, stride) for pair, stride in channels)
        self.out = Convolution(WIDTHS[-1], 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the activations of every level, then the output.

        Args:
            x: pictures in -1..1, [N, 3, R, R].

        Returns:
            The activations of four levels, [N, C, R / 2, R / 2] to [N, C, R / 8, R / 8], and one number for each
            patch, [N, 1, R / 8, R / 8]: positive for renderings.
        """
        activations = []
        for level in self.levels:
            x = functional.leaky_relu(level(x), LEAKY_SLOPE) * ACTIVATION_GAIN
            activations.append(x)
        return [*activations, self.out(x)]


def adversarial_losses(discriminator: Discriminator, made: Tensor, rendered: Tensor) -> tuple[Tensor, Tensor]:
    """Return the generator's loss, with gradients in the generator alone, and the discriminator's, likewise.

    Args:
        discriminator: the network that both losses use.
        made: a generator's pictures in -1..1, [N, 3, R, R].
        rendered: renderings of the same codes, [N, 3, R, R].
    """
    count = len(made)
    # Half of the renderings suffice for the penalty, which would otherwise be a third of the discriminator's work.
    noisy = rendered[: (count + 1) // 2]
    noisy = noisy + PERTURBATION * torch.randn_like(noisy)
    *seen, logits = discriminator(torch.cat([rendered, made.detach(), noisy]))
    for_rendered, for_made, for_noisy = logits.split([count, count, len(noisy)])
    hinge = functional.relu(1 - for_rendered).mean() + functional.relu(1 + for_made).mean()
    penalty = (for_rendered[: len(noisy)] - for_noisy).square().mean()

    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    *activations, logits = functional_call(discriminator, fixed, (made,))
    targets = [level[:count].detach() for level in seen]
    matching = torch.stack([functional.l1_loss(*pair) for pair in zip(activations, targets, strict=True)]).mean()
    return MATCHING_WEIGHT * matching - logits.mean(), hinge + PENALTY_WEIGHT * penalty
