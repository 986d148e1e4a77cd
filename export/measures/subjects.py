"""What is measured: generators, encoders, heads and classifiers, from checkpoints or from exported model directories.

All of them become functions of arrays, so that a checkpoint in PyTorch and an engine are measured alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines import Engine, engine_from_directory
from engines.contract.arrays import AnyArray, Codes, Pictures
from engines.contract.errors import ExportError
from engines.contract.tensors import FACE_SIZE, resolution_of
from engines.matching import check_component
from engines.model_directory import Component, manifest_of
from export.checkpoints import read_classifier, read_encoder, read_generator, read_isf
from export.measures.pictures import resized
from export.networks.architectures import network_from_weights
from export.networks.classifier import classifier_from_weights
from export.networks.encoder import input_from_face
from export.networks.generator import StyleGenerator, picture_from_output
from export.networks.isf import isf_from_weights
from export.networks.restyle import face_encoder_from_weights
from export.weights import EncoderKind, GeneratorWeights
from serving.condition import filled_generator_controls
from serving.sampler import mapping_engine

BATCH = 8
"""Pictures that are computed together, which bounds the memory of feature maps at 1024x1024."""

EncodeFaces = Callable[[Pictures], Codes]
"""Aligned faces, uint8 [N, 256, 256, 3] -> codes [N, L, D]."""

ClassifyFaces = Callable[[Pictures], NDArray[np.float32]]
"""Aligned faces, uint8 [N, 256, 256, 3] -> probabilities [N, A]."""


@dataclass(frozen=True)
class MeasuredGenerator:
    """A generator.

    Attributes:
        name: its name in reports.
        resolution: the side of its pictures in pixels.
        z_dim: the width of the mapping network's z; 0 without such a network.
        codes: rows and width of its codes.
        map: z float32 [N, Z] -> codes [N, L, D], untruncated.
        draw: codes [N, L, D] and psi -> pictures uint8 [N, R, R, 3].
        network: the network in PyTorch, for measures that need its pictures unrounded; None for an engine.
    """

    name: str
    resolution: int
    z_dim: int
    codes: tuple[int, ...]
    map: Callable[[AnyArray], Codes]
    draw: Callable[[Codes, float], Pictures]
    network: StyleGenerator | None

    def sized(self, w: Codes, psi: float, side: int) -> Pictures:
        """Draw pictures with another side, a few at a time, since thousands in full size would fill the memory."""
        return _in_batches(lambda part: resized(self.draw(part, psi), side), w)


@dataclass(frozen=True)
class MeasuredHead:
    """An ISF head; ``edit`` takes codes [N, L, D], targets [N, A] and z [N, Z], and gives the edited codes.

    ``codes`` are rows and width of its codes, 0 rows for a head on W.
    """

    codes: tuple[int, ...]
    attributes: tuple[str, ...]
    noise_size: int
    edit: Callable[[Codes, AnyArray, AnyArray], Codes]


def open_generator(path: Path, stack: ExitStack, label: int | None = None) -> MeasuredGenerator:
    """Open a checkpoint in PyTorch, or a model directory with its engine, which ``stack`` closes.

    ``label`` is the class of a conditional checkpoint, see ``read_generator``.

    Raises:
        CheckpointError, ModelDirectoryError, EngineError: the file or directory cannot be used.
        RequestError: a model directory has no mapping network.
        ExportError: a model directory holds another component.
    """
    if path.is_dir():
        return _generator_of_engine(path, stack)
    return measured_generator(path.stem, network_from_weights(read_generator(path, label)))


def measured_generator(name: str, network: StyleGenerator) -> MeasuredGenerator:
    """Return a network in PyTorch as a generator to measure."""

    def map_(z: AnyArray) -> Codes:
        with torch.no_grad():
            return np.repeat(network.mapping(torch.from_numpy(z)).numpy()[:, None], network.rows, 1)

    def draw(w: Codes, psi: float) -> Pictures:
        with torch.no_grad():
            return picture_from_output(network(torch.from_numpy(w), torch.full((len(w), 1), psi))).numpy()

    z_dim = network.mapping.z_dim if list(network.mapping.children()) else 0
    codes, resolution = (network.rows, len(network.mapping.w_avg)), resolution_of(network.rows)
    size = torch_batch(resolution)
    return MeasuredGenerator(
        name, resolution, z_dim, codes, map_, lambda w, psi: _in_batches(draw, w, psi, size=size), network
    )


def _generator_of_engine(path: Path, stack: ExitStack) -> MeasuredGenerator:
    engine, mapping = _engine(path, "generator", stack), stack.enter_context(mapping_engine(path))
    manifest = manifest_of(path)

    def draw(w: Codes, psi: float) -> Pictures:
        given = {"psi": np.full((len(w), 1), psi, np.float32)}
        controls = filled_generator_controls(engine.signature, given, len(w), manifest.default_blend)
        return engine.run({"w": w, **controls})["image"]

    return MeasuredGenerator(
        f"{manifest.name} ({manifest.engine} {manifest.precision})",
        manifest.sizes.resolution,
        mapping.signature.inputs[0].dims[0],
        engine.signature.inputs[0].dims,
        lambda z: _in_batches(lambda part: mapping.run({"z": part})["w"], z),
        lambda w, psi: _in_batches(draw, w, psi),
        None,
    )


def torch_batch(resolution: int) -> int:
    """Return how many pictures PyTorch draws at once: maps of 1024x1024 take 16 times the memory of 256x256."""
    return max(BATCH * FACE_SIZE**2 // resolution**2, 1) if resolution > FACE_SIZE else BATCH


def open_encoder(
    path: Path,
    stack: ExitStack,
    kind: EncoderKind | None = None,
    *,
    first: Path | None = None,
    generator: GeneratorWeights | None = None,
) -> EncodeFaces:
    """Open an encoder's checkpoint or model directory; see ``open_generator`` and ``read_encoder``."""
    if path.is_dir():
        engine = _engine(path, "encoder", stack)
        return lambda faces: _in_batches(lambda part: engine.run({"face": part})["w"], faces)
    return network_on_faces(face_encoder_from_weights(read_encoder(path, kind, first=first, generator=generator)))


def open_head(path: Path, attributes: tuple[str, ...] | None, stack: ExitStack, *, residual: bool) -> MeasuredHead:
    """Open an ISF head's checkpoint or model directory; see ``open_generator`` and ``read_isf``."""
    if path.is_dir():
        engine, sizes = _engine(path, "isf", stack), manifest_of(path).sizes
        if not sizes.noise_size:
            raise ExportError(
                str(path),
                got="a head of directions",
                expected="an ISF head, whose attributes a picture shows or not",
                remedy="leave --isf out",
            )
        return MeasuredHead(
            (sizes.geometry.rows, sizes.w_dim),
            sizes.attributes,
            sizes.noise_size,
            lambda *inputs: _in_batches(_edit_by_engine(engine), *inputs),
        )
    weights = read_isf(path, attributes, residual=residual)
    network = isf_from_weights(weights)

    def edit(w: Codes, target: AnyArray, z: AnyArray) -> Codes:
        with torch.no_grad():
            return network.edit(*map(torch.from_numpy, (w, z, target))).numpy()

    codes = (weights.rows if weights.rows > 1 else 0), weights.w_dim
    return MeasuredHead(codes, weights.attributes, weights.noise_size, lambda *inputs: _in_batches(edit, *inputs))


def open_classifier(path: Path, attributes: tuple[str, ...], stack: ExitStack) -> ClassifyFaces:
    """Open the classifier of an ISF checkpoint, or its model directory, for a head of ``attributes``.

    Raises:
        ExportError: a model directory holds another component, or other attributes; see also ``open_generator``.
    """
    if path.is_dir():
        engine, own = _engine(path, "classifier", stack), manifest_of(path).sizes.attributes
        if own != attributes:
            raise ExportError(
                str(path),
                got=f"a classifier of {', '.join(own)}",
                expected=f"one of {', '.join(attributes)}, as the head has them",
                remedy="export classifier and ISF head from one checkpoint with the same --attributes",
            )
        return lambda faces: _in_batches(lambda part: engine.run({"face": part})["probabilities"], faces)
    logits = network_on_faces(classifier_from_weights(read_classifier(path, attributes)))
    return lambda faces: (1 / (1 + np.exp(-logits(faces).astype(np.float64)))).astype(np.float32)


def network_on_faces(network: torch.nn.Module) -> Callable[[Pictures], NDArray[np.float32]]:
    """Return a network of faces, such as an encoder or a classifier, as a function of pictures [N, 256, 256, 3]."""

    def run(faces: Pictures) -> NDArray[np.float32]:
        with torch.no_grad():
            output: NDArray[np.float32] = network(input_from_face(torch.from_numpy(faces))).numpy()
        return output

    return lambda faces: _in_batches(run, faces)


def _edit_by_engine(engine: Engine) -> Callable[[Codes, AnyArray, AnyArray], Codes]:
    def edit(w: Codes, target: AnyArray, z: AnyArray) -> Codes:
        strength = np.ones(w.shape[:2], np.float32)
        return engine.run({"w": w, "attributes": target, "z": z, "row_strength": strength})["w_edited"]

    return edit


def _engine(path: Path, component: Component, stack: ExitStack) -> Engine:
    remedy = "give that directory under its own option"
    check_component(manifest_of(path), component, ExportError, subject=str(path), remedy=remedy)
    return stack.enter_context(engine_from_directory(path))


def _in_batches(
    function: Callable[..., AnyArray], first: AnyArray, *others: AnyArray | float, size: int = BATCH
) -> AnyArray:
    """Apply a function to parts of arrays of equal length; a number goes to every part."""
    parts = []
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        parts.append(function(first[part], *(x if isinstance(x, float) else x[part] for x in others)))
    return np.concatenate(parts)
