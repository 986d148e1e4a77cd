"""How alike two generators are: only relatives, such as a base and its fine-tuned sibling, blend well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.blending.groups import PARTS
from export.weights import GeneratorWeights

RELATED = 0.5
"""Mean cosine similarity below which parents get a warning.

Independent networks have 0 (measured: at most 0.05 at any resolution, 16 channels); a sibling whose weights moved by a
standard deviation of 0.2, 0.5 or 1 of their own has 0.98, 0.89 or 0.71.
"""


@dataclass(frozen=True)
class Kinship:
    """Cosine similarity of the layers' weights at each resolution, and whether all noise maps are equal.

    A fine-tuned network keeps its parent's noise maps, so equal maps prove a common origin; different ones prove
    nothing, since not every tool keeps them.
    """

    similarity: Mapping[int, float]
    equal_noise: bool

    def warnings(self, pair: str) -> tuple[str, ...]:
        """At most one sentence about parents that will not blend well."""
        mean = sum(self.similarity.values()) / len(self.similarity)
        if mean >= RELATED:
            return ()
        verdict = (
            "have drifted far apart, although their noise maps are equal"
            if self.equal_noise
            else "look unrelated: a blend needs a base and a network fine-tuned from it"
        )
        return (f"{pair} {verdict} (mean cosine similarity of the weights {mean:.2f})",)


def kinship_of(base: GeneratorWeights, other: GeneratorWeights) -> Kinship:
    """Compare two generators of one architecture."""
    noise = [name for name in base.tensors if name.endswith(".noise")]
    return Kinship(
        {resolution: _similarity(base, other, resolution) for resolution in base.resolutions},
        bool(noise) and all(np.array_equal(base.tensors[name], other.tensors[name]) for name in noise),
    )


def _similarity(base: GeneratorWeights, other: GeneratorWeights, resolution: int) -> float:
    # Convolution weights only: affine biases are near 1 in every network and would make strangers look alike.
    names = [f"synthesis.{resolution}.{part}.weight" for part in PARTS]
    a, b = (np.concatenate([t[n].ravel() for n in names if n in t]) for t in (base.tensors, other.tensors))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
