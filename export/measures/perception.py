"""Measures that are made of perceptual distances: PPL, PIR and diversity.

A path is a sequence of pictures from a face to its edit, whose codes lie at equal distances on the line from w to
w' = F(w, z, d). Letters in shapes: K pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.contract.arrays import Pictures
from export.measures.lpips import Lpips
from export.measures.pictures import centred, reduced
from export.networks.generator import StyleGenerator

PATH_STEPS = 20
"""Steps of a path, as in the evaluation of the ISF paper's code."""

EPSILON = 1e-4
"""Step in W of StyleGAN2's PPL."""

_OUTLIERS = (1, 99)
"""Percentiles beyond which StyleGAN2's PPL leaves distances out."""


class Perception(Protocol):
    """A perceptual distance whose features are computed once for each picture."""

    def features(self, pictures: Pictures) -> Sequence[Tensor]:
        """Compute the features of pictures, uint8 [K, R, R, 3] -> tensors [K, ...]."""
        ...

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Compute the distances of pictures from their features, [K]."""
        ...


class LpipsPerception:
    """LPIPS as a ``Perception``; larger pictures are reduced first, see ``MEASURED_SIDE``."""

    def __init__(self, lpips: Lpips) -> None:
        self._lpips = lpips

    def features(self, pictures: Pictures) -> Sequence[Tensor]:
        return self._lpips.unit_features(reduced(centred(pictures)))

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return self._lpips.distance(a, b)


def path_measures(perception: Perception, pictures: Pictures) -> tuple[float, float]:
    """Return PPL and PIR of the pictures of a path (Liu et al., arXiv 2109.12492, equations 11 and 12).

    PPL is the mean of d_i / e^2, where d_i is the distance of neighbours and e the step, 1 / number of steps. PIR is
    (max d_i - min d_i) / (distance of the path's ends + 1e-6).
    """
    features = perception.features(pictures)
    steps = perception.distance([level[:-1] for level in features], [level[1:] for level in features])
    ends = perception.distance([level[:1] for level in features], [level[-1:] for level in features])
    return float(steps.mean() * len(steps) ** 2), float((steps.max() - steps.min()) / (ends[0] + 1e-6))


def diversity(perception: Perception, pictures: Pictures) -> float:
    """Return the mean distance of all pairs of different pictures, the paper's LPIPS of edits with several z."""
    features = perception.features(pictures)
    a, b = (list(side) for side in zip(*combinations(range(len(pictures)), 2), strict=True))
    return float(perception.distance([level[a] for level in features], [level[b] for level in features]).mean())


def step_distances(generator: StyleGenerator, lpips: Lpips, z: Tensor) -> NDArray[np.float32]:
    """Return d / e^2 for small steps e = ``EPSILON`` from one w towards another, without truncation.

    Args:
        generator: a generator with its mapping network, in float32.
        lpips: the distance d.
        z: pairs of z, float32 [N, 2, Z].
    """
    with torch.no_grad():
        first, second = generator.mapping(z[:, 0]), generator.mapping(z[:, 1])
        ends = torch.stack([first, torch.lerp(first, second, EPSILON)], 1).flatten(0, 1)
        output = reduced(generator.synthesise(ends[:, None].expand(-1, generator.rows, -1)))
        distances: NDArray[np.float32] = (lpips(output[::2], output[1::2]) / EPSILON**2).numpy()
    return distances


def perceptual_path_length(distances: NDArray[np.float32]) -> float:
    """Return StyleGAN2's PPL of ``step_distances`` (Karras et al., arXiv 1912.04958): their mean without outliers.

    It is the variant in W at the paths' ends, of whole pictures. The lowest and highest percent are left out.
    """
    low, high = (
        np.percentile(distances, _OUTLIERS[0], method="lower"),
        np.percentile(distances, _OUTLIERS[1], method="higher"),
    )
    return float(distances[(distances >= low) & (distances <= high)].mean())
