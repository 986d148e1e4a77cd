"""Seeded random weights of every network at any size, for benchmarks and tests that need no trained network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from engines.contract.tensors import ISF_ATTRIBUTES
from export.networks.encoder import AllRowsEncoder, Encoder, HeadsEncoder, OneCodeEncoder
from export.networks.generator import Generator
from export.networks.isf import Isf
from export.networks.trunk import TrunkWidths
from export.weights import STAGE_UNITS, Array, EncoderKind, EncoderWeights, GeneratorWeights, IsfWeights, Source

Distribution = tuple[float, float]
"""Mean and standard deviation."""


def random_generator(
    channels: Mapping[int, int], seed: int, *, w_dim: int, mapping_depth: int, conv_clamp: float | None = None
) -> GeneratorWeights:
    """Draw a generator as it is initialised for training, but with biases and noise strengths that are not 0.

    Raw weights are N(0, 1), the mapping network's N(0, 1) / 0.01, affine biases N(1, 0.1), other biases, w_avg and
    noise strengths N(0, 0.1), noise maps N(0, 1).

    Args:
        channels: the number of channels at each resolution 4, 8, ..., R.
        seed: the seed of all tensors.
        w_dim: width of z and of w.
        mapping_depth: number of layers of the mapping network.
        conv_clamp: see ``GeneratorWeights``.
    """
    network = Generator(dict(channels), w_dim, mapping_depth=mapping_depth)
    return GeneratorWeights(_sampled(network, seed, _generator_distribution), _source(f"generator-{seed}"), conv_clamp)


def random_sibling(base: GeneratorWeights, seed: int, strength: float) -> GeneratorWeights:
    """Imitate fine-tuning: add noise of ``strength`` times their size to the synthesis weights; keep noise maps."""
    rng = np.random.default_rng(seed)
    tensors = dict(base.tensors)
    for name, value in base.tensors.items():
        if name.startswith("synthesis.") and not name.endswith(".noise"):
            step = strength * np.sqrt(np.mean(value**2)) * rng.standard_normal(value.shape)
            tensors[name] = np.asarray(value + step, np.float32)
    return replace(base, tensors=tensors, source=_source(f"{base.source.path.stem}-sibling-{seed}"))


def random_encoder(
    stages: tuple[int, int, int, int],
    seed: int,
    *,
    latent_avg: Array,
    heads: Literal["pyramid", "one", "all"] = "pyramid",
) -> EncoderWeights:
    """Draw an encoder whose activations keep their size, so that different pictures get different codes.

    Args:
        stages: widths of the four stages; the stem is as wide as the first.
        seed: the seed of all tensors.
        latent_avg: the average latent, float32 [L, D].
        heads: see ``EncoderWeights``; with a pyramid, the encoder is e4e's.
    """
    squeezed = [
        max(width // 16, 1) for width, units in zip(stages, STAGE_UNITS["irse50"], strict=True) for _ in range(units)
    ]
    widths, (rows, w_dim) = TrunkWidths(stages[0], stages, tuple(squeezed)), latent_avg.shape
    kind: EncoderKind = "e4e" if heads == "pyramid" else "psp"
    match heads:
        case "pyramid":
            network: Encoder = HeadsEncoder(widths, rows, w_dim, kind)
        case "one":
            network = OneCodeEncoder(widths, rows, w_dim)
        case "all":
            network = AllRowsEncoder(widths, rows, w_dim)
    tensors = _sampled(network, seed, _encoder_distribution)
    del tensors["latent_avg"]
    for name, value in tensors.items():
        if value.ndim > 1:
            # Rectified inputs have a positive mean, whose contribution would be the same for all pictures.
            tensors[name] = value - value.mean(tuple(range(1, value.ndim)), keepdims=True)
    return EncoderWeights(tensors, _source(f"encoder-{seed}"), kind, latent_avg)


def random_isf(rows: int, seed: int, *, w_dim: int, noise_size: int = 64) -> IsfWeights:
    """Draw an ISF head of the published kind: pre-normalisation, adaptive layer normalisation, four attributes."""
    network = Isf(len(ISF_ATTRIBUTES), noise_size, w_dim, rows, "adaln", pre_norm=True, residual=False)
    return IsfWeights(_sampled(network, seed, _isf_distribution), _source(f"isf-{seed}"), ISF_ATTRIBUTES)


def _sampled(
    network: nn.Module, seed: int, distribution: Callable[[str, tuple[int, ...]], Distribution]
) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            shape = tuple(value.shape)
            mean, spread = distribution(name, shape)
            tensors[name] = np.asarray(mean + spread * rng.standard_normal(shape), np.float32)
    return tensors


def _generator_distribution(name: str, shape: tuple[int, ...]) -> Distribution:
    if name.startswith("mapping.") and name.endswith(".weight"):
        return 0, 100
    if name.endswith((".bias", ".noise_strength", ".w_avg")):
        return float(name.endswith(".affine.bias")), 0.1
    return 0, 1


def _encoder_distribution(name: str, shape: tuple[int, ...]) -> Distribution:
    if name.endswith(("bias", "running_mean")):
        return 0, 0.1
    if len(shape) == 4:
        # The heads' rectifiers halve the mean square; in residual units the sum with the shortcut compensates for it.
        return 0, float((2 if name.startswith("styles.") else 1) / np.prod(shape[1:])) ** 0.5
    if len(shape) == 2:
        return 0, 1 if name.endswith("linear.weight") else shape[1] ** -0.5  # the former's gain is in the layer
    slope = ".res_layer.2." in name or name == "input_layer.2.weight"
    return (0.25, 0.05) if slope else (1, 0.1)


def _isf_distribution(name: str, shape: tuple[int, ...]) -> Distribution:
    if name.endswith("bias"):
        return 0, 0.1
    return (1, 0.1) if len(shape) == 1 else (0, float(2 / shape[1]) ** 0.5)


def _source(name: str) -> Source:
    return Source(Path(f"{name}.pt"), "random", sha256(name.encode()).hexdigest())
