"""Measuring how far out an encoder's codes lie for good faces: random ones of the generator that it was trained for.

An export has no access to the faces that an encoder was trained on, but its generator draws faces of the same
distribution. The encoder's own codes of them are measured, since these lie farther out than the generator's by an
amount that differs from encoder to encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from engines.contract.arrays import AnyArray, Codes, Picture
from engines.contract.errors import EngineError, ExportError
from engines.contract.tensors import FACE_SIZE, Geometry, Signature, generator_signature
from engines.engine import Engine
from engines.loading import engine_from_onnx
from export.checkpoints import read_decoder
from export.cutting import cut_generator
from export.graphs.architectures import onnx_from_network
from export.networks.architectures import network_from_weights
from export.networks.encoder import input_from_face
from export.networks.generator import picture_from_output
from export.onnx_files import save_model
from export.weights import EncoderWeights, GeneratorWeights
from serving.code_spread import CodeSpread
from serving.condition import z_from_seed
from serving.faces.alignment import prealigned

Encode = Callable[[Picture], Codes]
"""Encodes an aligned face, uint8 [256, 256, 3] RGB -> [1, L, D]."""

FACES = 32
"""Number of random faces, the seeds 0 to 31. With networks of public sizes each takes about a second."""

MARGIN = 1.3
"""Factor from the farthest code of these faces to the reach, so that a good face beyond all of them is not far."""


def generator_of_encoder(encoder: EncoderWeights) -> GeneratorWeights:
    """Read the generator that the encoder was trained for from the encoder's own checkpoint.

    Raises:
        ExportError: it is not there, or its faces cannot be encoded in reasonable time.
        CheckpointError: it cannot be read.
    """
    if encoder.decoder:
        raise _no_generator(encoder, f"ReStyle, which would take minutes for {FACES} faces")
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


def measured_code_spread(encode: Encode, generator: GeneratorWeights) -> CodeSpread:
    """Encode ``FACES`` random faces, and return the mean and the reach of their codes.

    Args:
        encode: the encoder.
        generator: the generator that it was trained for, with its mapping network.
    """
    return spread_of(codes_of_random_faces(encode, generator, range(FACES)))


def codes_of_random_faces(encode: Encode, generator: GeneratorWeights, seeds: Iterable[int]) -> Codes:
    """Return the encoder's codes [N, L, D] of the faces of seeds, which are those of ``toonify sample``."""
    with _drawing(_cut(generator)) as draw:
        return np.concatenate([encode(prealigned(draw(z_from_seed(seed, generator.z_dim)))[0]) for seed in seeds])


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


@contextmanager
def _drawing(generator: GeneratorWeights) -> Iterator[Callable[[AnyArray], Picture]]:
    """Yield a function from z [Z] to its face, uint8 [R, R, 3]: one at a time, since a batch would take gigabytes."""
    network = network_from_weights(generator)
    sizes = Geometry(generator.resolution, generator.w_dim, rows=network.rows)
    signature = generator_signature(sizes)
    with TemporaryDirectory() as folder:
        model = Path(folder) / "generator.onnx"
        save_model(onnx_from_network(network, signature), model)
        engine = _own_engine(model, signature)

        def draw(z: AnyArray) -> Picture:
            with torch.no_grad():
                w: Tensor = network.mapping(torch.from_numpy(z)[None])[:, None].repeat(1, network.rows, 1)
                if engine is None:
                    return picture_from_output(network.synthesise(w))[0].numpy()
            picture: Picture = engine.run({"w": w.numpy(), "psi": np.ones((1, 1), np.float32)})["image"][0]
            return picture

        with engine or nullcontext():
            yield draw


@contextmanager
def encoding(network: nn.Module, model: Path, signature: Signature) -> Iterator[Encode]:
    """Yield a function that encodes a face by an exported encoder, or by ``network`` if this package's engine cannot.

    Args:
        network: the encoder, from pictures [N, 3, 256, 256] to codes [N, L, D].
        model: the same encoder's ONNX file.
        signature: its inputs and outputs.
    """
    with _own_engine(model, signature) or nullcontext() as engine:
        yield encoder_of(network) if engine is None else lambda face: engine.run({"face": face[None]})["w"]


def encoder_of(network: nn.Module) -> Encode:
    """Return the function that encodes a face by a network from pictures [N, 3, 256, 256] to codes [N, L, D]."""

    def encode(face: Picture) -> Codes:
        with torch.no_grad():
            code: Tensor = network(input_from_face(torch.from_numpy(face)[None]))
        return code.numpy()

    return encode


def _own_engine(model: Path, signature: Signature) -> Engine | None:
    """Load a model in the engine that this package compiles, many times as fast as PyTorch; None if it cannot."""
    try:
        return engine_from_onnx(model, signature, "winograd")
    except EngineError:  # it was not compiled, or knows no such network: StyleGAN1, ReStyle
        return None
