"""Small random generators for tests."""

from __future__ import annotations

from collections.abc import Mapping

from export import random_weights
from export.weights import GeneratorWeights


def random_generator(
    resolution: int = 32,
    channels: Mapping[int, int] | int = 8,
    seed: int = 0,
    *,
    w_dim: int = 16,
    mapping_depth: int = 2,
    conv_clamp: float | None = None,
) -> GeneratorWeights:
    """A generator with seeded weights; ``channels`` gives the width at each resolution, or one for all."""
    if isinstance(channels, int):
        channels = {1 << level: channels for level in range(2, resolution.bit_length())}
    return random_weights.random_generator(
        channels, seed, w_dim=w_dim, mapping_depth=mapping_depth, conv_clamp=conv_clamp
    )


def random_sibling(base: GeneratorWeights, seed: int = 1, strength: float = 0.3) -> GeneratorWeights:
    """A generator whose weights differ from those of ``base`` as if it were fine-tuned from it."""
    return random_weights.random_sibling(base, seed, strength)
