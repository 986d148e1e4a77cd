"""The choice of a generator's network by the architecture of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from export.networks.generator import StyleGenerator, generator_from_weights
from export.networks.stylegan1 import stylegan1_from_weights
from export.weights import Architecture, GeneratorWeights

_BUILDERS: Mapping[Architecture, Callable[[GeneratorWeights], StyleGenerator]] = {
    "StyleGAN1": stylegan1_from_weights,
    "StyleGAN2": generator_from_weights,
}


def network_from_weights(weights: GeneratorWeights) -> StyleGenerator:
    """Build a generator of any architecture; see ``export.networks.generator.load_weights``."""
    return _BUILDERS[weights.architecture](weights)
