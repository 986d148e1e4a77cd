"""Detection of the network that a checkpoint holds, and the choice of its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from export.checkpoints import nvlabs, stylegan1, tensorflow
from export.checkpoints.checkpoint import Checkpoint, entry_names
from export.checkpoints.classifier import classifier_from_discriminator
from export.checkpoints.isf import is_isf, isf_from_mapnet
from export.checkpoints.labels import check_unconditional
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.pixel2style2pixel import (
    decoder_of,
    encoder_from_pixel2style2pixel,
    has_whole_decoder,
    is_pixel2style2pixel,
)
from export.checkpoints.relatives import check_not_a_relative
from export.checkpoints.rosinality import generator_from_rosinality
from export.checkpoints.safetensors_files import SafetensorsFile, generator_from_safetensors
from export.weights import ClassifierWeights, EncoderKind, EncoderWeights, GeneratorWeights, IsfWeights

Network = Literal["generator", "encoder", "isf"]


def read_generator(path: Path, label: int | None = None) -> GeneratorWeights:
    """Read a generator of any supported format; from a pSp or e4e checkpoint its decoder is read.

    Args:
        path: a checkpoint file.
        label: the class of a conditional generator, which is folded into the mapping network.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network; or the class is missing, or is none of
            the network's.
    """
    return _generator(_opened(path), label)


def read_encoder(path: Path, kind: EncoderKind | None = None) -> EncoderWeights:
    """Read an encoder of pSp, e4e or ReStyle; ``kind`` is needed only if the file does not record it.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network; or the encoder's kind is unknown.
    """
    return _encoder(_opened(path), kind)


def read_decoder(path: Path) -> GeneratorWeights | None:
    """Read the generator in the checkpoint of an encoder; None if it is not there, or without its mapping network.

    Raises:
        CheckpointError: the file is damaged or unsafe, or the generator is not a StyleGAN2.
    """
    checkpoint = _opened(path)
    return decoder_of(checkpoint) if has_whole_decoder(checkpoint) else None


def read_isf(path: Path, attributes: tuple[str, ...] | None = None, *, residual: bool = False) -> IsfWeights:
    """Read an ISF head.

    Args:
        path: a checkpoint file.
        attributes: names in the order of training; None means the published four, if the head has four attributes.
        residual: whether the head was trained with ``use_residual``, which the file does not record.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network; or the attributes' names are unknown.
    """
    return _isf(_opened(path), attributes, residual=residual)


def read_classifier(path: Path, attributes: tuple[str, ...] | None = None) -> ClassifierWeights:
    """Read the classifier of attributes that an ISF checkpoint holds beside its head.

    Args:
        path: a checkpoint file.
        attributes: names in the order of training; None means the published four.

    Raises:
        CheckpointError: the file is damaged, unsafe, holds another network or no classifier; or the attributes' names
            are unknown.
    """
    checkpoint = _opened(path)
    _require(checkpoint, "isf")
    return classifier_from_discriminator(checkpoint, attributes)


def read_checkpoint(
    path: Path,
    *,
    kind: EncoderKind | None = None,
    attributes: tuple[str, ...] | None = None,
    residual: bool = False,
    label: int | None = None,
) -> GeneratorWeights | EncoderWeights | IsfWeights:
    """Read whichever network the file holds; from a pSp or e4e checkpoint the encoder is read.

    Raises:
        CheckpointError: see ``read_generator``, ``read_encoder`` and ``read_isf``.
    """
    checkpoint = _opened(path)
    network = _network_of(checkpoint.content)
    if network == "generator":
        return _generator(checkpoint, label)
    check_unconditional(checkpoint.context, label)
    return _encoder(checkpoint, kind) if network == "encoder" else _isf(checkpoint, attributes, residual=residual)


def _opened(path: Path) -> Checkpoint:
    checkpoint = open_checkpoint(path)
    check_not_a_relative(checkpoint)
    return checkpoint


def _network_of(content: object) -> Network:
    if is_isf(content):
        return "isf"
    return "encoder" if is_pixel2style2pixel(content) else "generator"


def _is_generator(checkpoint: Checkpoint) -> bool:
    content = checkpoint.content
    return (
        isinstance(content, SafetensorsFile)
        or nvlabs.generator_of(content) is not None
        or tensorflow.generator_of(content) is not None
        or stylegan1.state_of(content) is not None
        or any(name.endswith("input.input") for name in entry_names(checkpoint))
    )


def _require(checkpoint: Checkpoint, expected: Network) -> None:
    network = _network_of(checkpoint.content)
    names = {"generator": "a generator", "encoder": "an encoder", "isf": "an ISF head"}
    if network != expected:
        known = network != "generator" or _is_generator(checkpoint)
        raise checkpoint.context.error(
            names[network] if known else "no network that is known here",
            expected=names[expected],
            remedy="give the checkpoint of that network",
        )


def _generator(checkpoint: Checkpoint, label: int | None) -> GeneratorWeights:
    content = checkpoint.content
    if (module := nvlabs.generator_of(content)) is not None:
        return nvlabs.generator_from_nvlabs(checkpoint, module, label)
    if (network := tensorflow.generator_of(content)) is not None:
        return tensorflow.generator_from_tensorflow(checkpoint, network, label)
    if not is_pixel2style2pixel(content):
        _require(checkpoint, "generator")
    check_unconditional(checkpoint.context, label)
    if is_pixel2style2pixel(content):
        return decoder_of(checkpoint)
    if isinstance(content, SafetensorsFile):
        return generator_from_safetensors(checkpoint, content)
    if (state := stylegan1.state_of(content)) is not None:
        return stylegan1.generator_from_genforce(checkpoint, *state)
    return generator_from_rosinality(checkpoint)


def _encoder(checkpoint: Checkpoint, kind: EncoderKind | None) -> EncoderWeights:
    _require(checkpoint, "encoder")
    return encoder_from_pixel2style2pixel(checkpoint, kind)


def _isf(checkpoint: Checkpoint, attributes: tuple[str, ...] | None, *, residual: bool) -> IsfWeights:
    _require(checkpoint, "isf")
    return isf_from_mapnet(checkpoint, attributes, residual=residual)
