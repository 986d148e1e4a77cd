"""Seeded random weights of every network, at any size: untrained networks for the demo and for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import nn

from engines.contract.tensors import ISF_ATTRIBUTES
from export.networks.encoder import STAGE_UNITS, Encoder, EncoderWidths
from export.networks.generator import Generator
from export.networks.isf import Isf
from export.weights import Array, EncoderWeights, GeneratorWeights, IsfWeights, Source

Draw = tuple[float, float]
"""Mean and standard deviation."""


def random_generator(
    channels: Mapping[int, int], seed: int, *, w_dim: int, mapping_depth: int, conv_clamp: float | None = None
) -> GeneratorWeights:
    """A generator as training would start it, but with biases and noise strengths that are not 0.

    Raw weights are N(0, 1), the mapping network's N(0, 1) / 0.01, affine biases N(1, 0.1), other biases, w_avg and
    noise strengths N(0, 0.1), noise maps N(0, 1).

    Args:
        channels: the width at each resolution 4, 8, ..., R.
        seed: of every tensor.
        w_dim: width of z and of w.
        mapping_depth: layers of the mapping network.
        conv_clamp: see ``GeneratorWeights``.
    """
    network = Generator(dict(channels), w_dim, mapping_depth=mapping_depth)
    return GeneratorWeights(_drawn(network, seed, _generator_draw), _source(f"generator-{seed}"), conv_clamp)


def random_sibling(base: GeneratorWeights, seed: int, strength: float) -> GeneratorWeights:
    """A network as fine-tuning leaves it: synthesis weights moved by ``strength`` of their size, noise maps kept."""
    rng = np.random.default_rng(seed)
    tensors = dict(base.tensors)
    for name, value in base.tensors.items():
        if name.startswith("synthesis.") and not name.endswith(".noise"):
            step = strength * np.sqrt(np.mean(value**2)) * rng.standard_normal(value.shape)
            tensors[name] = np.asarray(value + step, np.float32)
    return replace(base, tensors=tensors, source=_source(f"{base.source.path.stem}-sibling-{seed}"))


def random_encoder(stages: tuple[int, int, int, int], seed: int, *, latent_avg: Array) -> EncoderWeights:
    """An e4e encoder that keeps the size of its activations, and so tells pictures apart.

    Args:
        stages: widths of the four stages; the stem is as wide as the first.
        seed: of every tensor.
        latent_avg: [L, D].
    """
    squeezed = [max(width // 16, 1) for width, units in zip(stages, STAGE_UNITS, strict=True) for _ in range(units)]
    rows, w_dim = latent_avg.shape
    network = Encoder(EncoderWidths(stages[0], stages, tuple(squeezed)), rows, w_dim, "e4e")
    tensors = _drawn(network, seed, _encoder_draw)
    del tensors["latent_avg"]
    for name, value in tensors.items():
        if value.ndim > 1:
            # Rectified inputs share a positive mean, which would be the same for all pictures.
            tensors[name] = value - value.mean(tuple(range(1, value.ndim)), keepdims=True)
    return EncoderWeights(tensors, _source(f"encoder-{seed}"), "e4e", latent_avg)


def random_isf(rows: int, seed: int, *, w_dim: int, noise_size: int = 64) -> IsfWeights:
    """A head of the published kind: pre-normalisation, adaptive layer normalisation, four attributes."""
    network = Isf(len(ISF_ATTRIBUTES), noise_size, w_dim, rows, "adaln", pre_norm=True, residual=False)
    return IsfWeights(_drawn(network, seed, _isf_draw), _source(f"isf-{seed}"), ISF_ATTRIBUTES)


def _drawn(network: nn.Module, seed: int, draw: Callable[[str, tuple[int, ...]], Draw]) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            shape = tuple(value.shape)
            mean, spread = draw(name, shape)
            tensors[name] = np.asarray(mean + spread * rng.standard_normal(shape), np.float32)
    return tensors


def _generator_draw(name: str, shape: tuple[int, ...]) -> Draw:
    if name.startswith("mapping.") and name.endswith(".weight"):
        return 0, 100
    if name.endswith((".bias", ".noise_strength", ".w_avg")):
        return float(name.endswith(".affine.bias")), 0.1
    return 0, 1


def _encoder_draw(name: str, shape: tuple[int, ...]) -> Draw:
    if name.endswith(("bias", "running_mean")):
        return 0, 0.1
    if len(shape) == 4:
        # The heads' rectifiers halve the mean square; the residual units' sums make up for theirs.
        return 0, float((2 if name.startswith("styles.") else 1) / np.prod(shape[1:])) ** 0.5
    if name.endswith("linear.weight"):
        return 0, 1
    slope = ".res_layer.2." in name or name == "input_layer.2.weight"
    return (0.25, 0.05) if slope else (1, 0.1)


def _isf_draw(name: str, shape: tuple[int, ...]) -> Draw:
    if name.endswith("bias"):
        return 0, 0.1
    return (1, 0.1) if len(shape) == 1 else (0, float(2 / shape[1]) ** 0.5)


def _source(name: str) -> Source:
    return Source(Path(f"{name}.pt"), "random", sha256(name.encode()).hexdigest())
