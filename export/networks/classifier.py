"""The classifier of attributes: the branch of ISF-GAN's discriminator that learns which attributes a picture shows.

The trunk is StarGAN v2's discriminator (Choi et al., arXiv 1912.01865, appendix F): residual blocks that halve the side
until 4x4. All widths follow from the tensors, whose names are those of the ISF checkpoint's ``discriminator``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.weights import ClassifierWeights

SLOPE = 0.2
"""Slope of the leaky ReLUs for negative values."""


class ResidualBlock(nn.Module):
    """A pre-activation residual block that halves the side: [N, I, H, W] -> [N, O, H/2, W/2]."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_in, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv1x1 = None if channels_in == channels else nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The mean commutes with the 1x1 convolution, which then has a quarter of the work.
        shortcut = functional.avg_pool2d(x, 2)
        if self.conv1x1 is not None:
            shortcut = self.conv1x1(shortcut)
        residual = functional.avg_pool2d(self.conv1(functional.leaky_relu(x, SLOPE)), 2)
        out: Tensor = (shortcut + self.conv2(functional.leaky_relu(residual, SLOPE))) / sqrt(2)
        return out


class Classifier(nn.Module):
    """The classifier; ``widths`` are the channels after the first convolution and after each block."""

    def __init__(self, widths: Sequence[int], hidden: int, attributes: int) -> None:
        super().__init__()
        blocks = [ResidualBlock(a, b) for a, b in pairwise(widths)]
        self.main = nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1), *blocks)
        self.out_cls = nn.Sequential(
            nn.LeakyReLU(SLOPE), nn.Conv2d(widths[-1], hidden, 4), nn.LeakyReLU(SLOPE), nn.Conv2d(hidden, attributes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the attributes' logits: pictures [N, 3, 256, 256] in -1..1 -> [N, A]."""
        logits: Tensor = self.out_cls(self.main(x)).flatten(1)
        return logits


def classifier_from_weights(weights: ClassifierWeights) -> Classifier:
    """Build a classifier with the widths that the tensors have, and load the tensors."""
    hidden, attributes = (len(weights.tensors[f"out_cls.{i}.bias"]) for i in (1, 3))
    classifier = Classifier(weights.widths, hidden, attributes)
    classifier.load_state_dict({name: torch.from_numpy(value) for name, value in weights.tensors.items()})
    classifier.eval().requires_grad_(False)
    return classifier
