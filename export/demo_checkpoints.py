"""Checkpoints to try the package with before having trained ones: small, in the official formats, with random weights.

Their pictures are abstract patterns. The weights' sizes were chosen so that the patterns have contrast without
clipping, and so that another face, another attribute or another blend gives a visibly different picture.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engines.model_directory import sha256_of
from export.checkpoints import write_encoder, write_isf, write_rosinality
from export.networks.generator import generator_from_weights
from export.random_weights import random_encoder, random_generator, random_isf, random_sibling
from export.weights import EncoderWeights, GeneratorWeights, IsfWeights
from serving.atomic import atomic_file

CHANNELS = {4: 64, 8: 64, 16: 64, 32: 64, 64: 48, 128: 32, 256: 16}
ENCODER_STAGES = (16, 32, 48, 64)
W_DIM = 64
SEED = 6
COLOUR_GAIN = 0.35
SIBLING_STRENGTH = 0.3

RECORD = "demo.json"
RECIPE = 1
"""Raised with every change of what is made, so that files of older versions are not reused."""


@dataclass(frozen=True)
class DemoCheckpoints:
    """Where the demo's checkpoints are, and what they are."""

    base: Path
    transfer: Path
    encoder: Path
    isf: Path
    trained: bool = False
    description: str = "untrained networks with random weights: their pictures are abstract patterns, not faces"

    @property
    def files(self) -> tuple[Path, ...]:
        """All four."""
        return self.base, self.transfer, self.encoder, self.isf


def demo_checkpoints(directory: Path) -> DemoCheckpoints:
    """Make the demo's checkpoints in ``directory``, or take those that are there, if they are whole.

    The same files, byte for byte, on every machine with the same torch and NumPy.
    """
    demo = DemoCheckpoints(
        directory / "base.pt", directory / "transfer.pt", directory / "encoder.pt", directory / "isf.ckpt"
    )
    if not _is_whole(demo, directory / RECORD):
        _write(demo, directory / RECORD)
    return demo


def _is_whole(demo: DemoCheckpoints, record: Path) -> bool:
    try:
        return record.read_text() == _record_of(demo)
    except OSError:
        return False


def _record_of(demo: DemoCheckpoints) -> str:
    return json.dumps({"recipe": RECIPE, "files": {path.name: sha256_of(path) for path in demo.files}})


def _write(demo: DemoCheckpoints, record: Path) -> None:
    base = demo_generator()
    write_rosinality(base, demo.base, force=True)
    write_rosinality(random_sibling(base, SEED + 1, SIBLING_STRENGTH), demo.transfer, force=True)
    write_encoder(demo_encoder(base), demo.encoder, force=True)
    write_isf(demo_isf(base), demo.isf, force=True)
    with atomic_file(record, force=True) as partial:
        partial.write_text(_record_of(demo))


def demo_generator() -> GeneratorWeights:
    """The base: 256x256 and narrow; the picture of w_avg is grey on average, and others have contrast around it."""
    weights = random_generator(CHANNELS, SEED, w_dim=W_DIM, mapping_depth=4)
    tensors = {name: value for name, value in weights.tensors.items() if name != "mapping.w_avg"}
    for resolution in weights.resolutions:
        name = f"synthesis.{resolution}.rgb.weight"
        # Without their mean, since rectified activations share a positive one that would tint every picture.
        tensors[name] = np.float32(COLOUR_GAIN) * (tensors[name] - tensors[name].mean(1, keepdims=True))
    network = generator_from_weights(replace(weights, tensors=tensors))
    w_avg = network.mapping.w_avg
    tint = network.synthesise(w_avg.expand(1, weights.rows, W_DIM)).mean((0, 2, 3))
    last_bias = f"synthesis.{weights.resolution}.rgb.bias"
    tensors |= {"mapping.w_avg": w_avg.numpy(), last_bias: tensors[last_bias] - tint.numpy()}
    return replace(weights, tensors=tensors)


def demo_encoder(base: GeneratorWeights) -> EncoderWeights:
    """An e4e encoder whose codes spread around w_avg about as wide as the mapping network's."""
    w_avg = base.tensors["mapping.w_avg"]
    weights = random_encoder(ENCODER_STAGES, SEED, latent_avg=np.tile(w_avg, (base.rows, 1)))
    # The first row is in all rows of an e4e code; the others are offsets from it.
    gains = {f"styles.{row}.linear.weight": np.float32(1.0 if row else 3.0) for row in range(base.rows)}
    return replace(weights, tensors={name: value * gains.get(name, 1) for name, value in weights.tensors.items()})


def demo_isf(base: GeneratorWeights) -> IsfWeights:
    """A head near the identity but for a row's mean and length, which every such head discards.

    Its last network's layers are the identity with some noise: the first two lifted, so that ReLU cuts nothing off
    (the normalisation that follows takes the lift away), the last one scaled to the length of w_avg.
    """
    weights = random_isf(base.rows, SEED, w_dim=W_DIM)
    tensors = dict(weights.tensors)
    w_avg = base.tensors["mapping.w_avg"]
    for index, gain, lift in ((1, 1.0, 3.0), (4, 1.0, 3.0), (7, float(w_avg.std()), float(w_avg.mean()))):
        weight, bias = f"w_net.fc.{index}.weight", f"w_net.fc.{index}.bias"
        tensors[weight] = np.float32(gain) * (np.eye(W_DIM, dtype=np.float32) + np.float32(0.1) * tensors[weight])
        tensors[bias] = tensors[bias] + np.float32(lift)
    # Else four attributes would hardly be felt beside 64 numbers of noise.
    tensors["w_net.z_net.shared.0.weight"][:, weights.noise_size :] *= 6
    return replace(weights, tensors=tensors)
