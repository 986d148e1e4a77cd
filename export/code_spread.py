"""Measuring how far out an encoder's codes lie for good faces: random ones of the generator that it was trained for.

An export has no access to the faces that an encoder was trained on, but its generator draws faces of the same
distribution. The encoder's own codes of them are measured, since these lie farther out than the generator's by an
amount that differs from encoder to encoder.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from engines.contract.arrays import Codes, Picture
from engines.contract.errors import ExportError
from engines.contract.tensors import FACE_SIZE
from export.checkpoints import read_decoder
from export.cutting import cut_generator
from export.networks.architectures import network_from_weights
from export.networks.encoder import input_from_face
from export.networks.generator import StyleGenerator, picture_from_output
from export.weights import EncoderWeights, GeneratorWeights
from serving.code_spread import CodeSpread
from serving.condition import z_from_seed
from serving.faces.alignment import prealigned

FACES = 32
"""Number of random faces, the seeds 0 to 31; an encoder of public size takes some seconds for each."""

MARGIN = 1.3
"""Factor from the farthest code of these faces to the reach, so that a good face beyond all of them is not far."""


def generator_of_encoder(encoder: EncoderWeights) -> GeneratorWeights:
    """Read the generator that the encoder was trained for from the encoder's own checkpoint.

    Raises:
        ExportError: it is not there, or its faces cannot be encoded in reasonable time.
        CheckpointError: it cannot be read.
    """
    if encoder.decoder:
        raise _no_generator(encoder, f"ReStyle, whose {encoder.steps} steps take minutes for {FACES} faces")
    generator = read_decoder(encoder.source.path)
    if generator is None:
        raise _no_generator(encoder, "an encoder without its generator and mapping network")
    check_generator_of(encoder, generator)
    return generator


def _no_generator(encoder: EncoderWeights, got: str) -> ExportError:
    return ExportError(
        str(encoder.source.path),
        got=got,
        expected="a generator whose random faces show how far out the codes of good faces lie",
        remedy="give --generator to have codes that lie farther out pulled in",
    )


def check_generator_of(encoder: EncoderWeights, generator: GeneratorWeights) -> None:
    """Raise ExportError unless random faces of the generator can be encoded, and its codes have the encoder's shape."""
    got = None
    if not generator.mapping_depth:
        got = "a generator without its mapping network"
    elif (generator.rows, generator.w_dim) != (encoder.rows, encoder.w_dim):
        got = f"codes of {generator.rows} rows of {generator.w_dim}"
    if got:
        raise ExportError(
            str(generator.source.path),
            got=got,
            expected=f"one whose mapping network gives codes of {encoder.rows} rows of {encoder.w_dim}",
            remedy="give the generator that the encoder was trained for",
        )


def measured_code_spread(encoder: nn.Module, generator: GeneratorWeights) -> CodeSpread:
    """Encode ``FACES`` random faces, and return the mean and the reach of their codes.

    Args:
        encoder: the encoder, from pictures [N, 3, 256, 256] to codes [N, L, D].
        generator: the generator that it was trained for, with its mapping network.
    """
    return spread_of(codes_of_random_faces(encoder, generator, range(FACES)))


def codes_of_random_faces(encoder: nn.Module, generator: GeneratorWeights, seeds: Iterable[int]) -> Codes:
    """Return the encoder's codes [N, L, D] of the faces of seeds, which are those of ``toonify sample``."""
    network = network_from_weights(_cut(generator))
    with torch.no_grad():
        return np.concatenate([code_of(encoder, _random_face(network, generator.z_dim, seed)) for seed in seeds])


def spread_of(codes: Codes) -> CodeSpread:
    """Return the mean of the codes [N, L, D] of good faces, and the reach, which is somewhat beyond all of them."""
    mean = codes.mean(0)
    farthest = np.linalg.norm(codes - mean, axis=2).max(0)
    # A row that is the same for all faces must not make every other code a far one.
    return CodeSpread(mean, np.maximum(MARGIN * farthest, 1e-3 * max(float(farthest.max()), 1e-3)).astype(np.float32))


def _cut(generator: GeneratorWeights) -> GeneratorWeights:
    """Return the generator without the layers above the encoder's input, which take most of its time."""
    sizes = [size for size in generator.picture_sizes if size >= FACE_SIZE]
    return cut_generator(generator, min(sizes)) if sizes else generator


def _random_face(generator: StyleGenerator, z_dim: int, seed: int) -> Picture:
    """Draw a single face, since maps of 1024x1024 take gigabytes in a batch."""
    w: Tensor = generator.mapping(torch.from_numpy(z_from_seed(seed, z_dim))[None])
    image: Tensor = generator.synthesise(w[:, None].repeat(1, generator.rows, 1))
    return prealigned(picture_from_output(image)[0].numpy())[0]


def code_of(encoder: nn.Module, face: Picture) -> Codes:
    """Encode a face: uint8 [256, 256, 3] RGB -> [1, L, D]."""
    with torch.no_grad():
        code: Tensor = encoder(input_from_face(torch.from_numpy(face)[None]))
    return code.numpy()
