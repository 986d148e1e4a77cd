"""Similarity of two generators' weights: only related networks, such as a base and its fine-tuned copy, blend well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.blending.groups import PARTS
from export.weights import GeneratorWeights

MIN_SIMILARITY = 0.5
"""Mean cosine similarity below which parents cause a warning.

Independent networks have a similarity of 0 (measured: at most 0.05 at any resolution, with 16 channels). A fine-tuned
network whose weights differ by 0.2, 0.5 or 1 of their standard deviation has 0.98, 0.89 or 0.71.
"""


@dataclass(frozen=True)
class WeightSimilarity:
    """Cosine similarity of two generators' weights by resolution, and whether all their noise maps are equal.

    A fine-tuned network keeps its parent's noise maps, so equal maps prove a common origin; different maps prove
    nothing, since not every tool keeps them.
    """

    by_resolution: Mapping[int, float]
    equal_noise: bool

    def warnings(self, pair: str) -> tuple[str, ...]:
        """Return at most one sentence, about parents that will not blend well; ``pair`` names the two."""
        mean = sum(self.by_resolution.values()) / len(self.by_resolution)
        if mean >= MIN_SIMILARITY:
            return ()
        verdict = (
            "have drifted far apart, although their noise maps are equal"
            if self.equal_noise
            else "look unrelated: a blend needs a base and a network fine-tuned from it"
        )
        return (f"{pair} {verdict} (mean cosine similarity of the weights {mean:.2f})",)


def weight_similarity(base: GeneratorWeights, other: GeneratorWeights) -> WeightSimilarity:
    """Compare two generators of one architecture."""
    noise = [name for name in base.tensors if name.endswith(".noise")]
    return WeightSimilarity(
        {resolution: _similarity(base, other, resolution) for resolution in base.resolutions},
        bool(noise) and all(np.array_equal(base.tensors[name], other.tensors[name]) for name in noise),
    )


def _similarity(base: GeneratorWeights, other: GeneratorWeights, resolution: int) -> float:
    # Only convolution weights count: affine biases are near 1 in every network and would make any two look similar.
    names = [f"synthesis.{resolution}.{part}.weight" for part in PARTS]
    a, b = (np.concatenate([t[n].ravel() for n in names if n in t]) for t in (base.tensors, other.tensors))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
