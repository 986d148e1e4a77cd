"""Detection of the network that a checkpoint holds, and the choice of its reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from engines.contract.errors import ExportError
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
    picture_decoder,
)
from export.checkpoints.relatives import check_not_a_relative
from export.checkpoints.rosinality import generator_from_rosinality
from export.checkpoints.safetensors_files import SafetensorsFile, generator_from_safetensors
from export.weights import ClassifierWeights, EncoderKind, EncoderWeights, FirstStep, GeneratorWeights, IsfWeights

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


def read_encoder(
    path: Path,
    kind: EncoderKind | None = None,
    *,
    first: Path | None = None,
    generator: GeneratorWeights | None = None,
) -> EncoderWeights:
    """Read an encoder of pSp, e4e or ReStyle.

    Args:
        path: a checkpoint file.
        kind: is needed only if the file does not record it.
        first: the checkpoint of the encoder whose code a ReStyle encoder corrects (encoder bootstrapping); without it,
            ReStyle begins at the average latent.
        generator: the decoder for ReStyle's encoder, or for the first one, where its file holds none.

    Raises:
        CheckpointError: a file is damaged, unsafe, or holds another network; an encoder's kind is unknown; or a decoder
            is missing.
        ExportError: the first encoder's codes have another form, or the encoder after it is not ReStyle's.
    """
    weights = _encoder(_opened(path), kind, generator)
    return replace(weights, first=_first_step(first, weights, generator)) if first else weights


def _first_step(path: Path, corrected_by: EncoderWeights, generator: GeneratorWeights | None) -> FirstStep:
    """Read the first encoder, whose code ``corrected_by`` corrects, and its decoder."""
    if not corrected_by.corrects:
        raise ExportError(
            str(corrected_by.source.path),
            got=f"an encoder of the architecture {corrected_by.architecture}",
            expected="ReStyle, which corrects the first encoder's code",
            remedy="give ReStyle's checkpoint, or leave the first encoder out",
        )
    checkpoint = _opened(path)
    encoder = replace(_encoder(checkpoint, None, generator), steps=1)
    rows, w_dim = corrected_by.rows, corrected_by.w_dim
    if (encoder.rows, encoder.w_dim) != (rows, w_dim):
        raise ExportError(
            str(path),
            got=f"codes of {encoder.rows} rows of {encoder.w_dim}",
            expected=f"{rows} rows of {w_dim}, as {corrected_by.source.path.name} corrects",
            remedy="give the encoder that it was trained after",
        )
    return FirstStep(encoder, encoder.decoder or picture_decoder(checkpoint, rows, w_dim, generator))


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
    if network == "encoder":
        return encoder_from_pixel2style2pixel(checkpoint, kind, needs_decoder=False)
    return _isf(checkpoint, attributes, residual=residual)


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


def _encoder(
    checkpoint: Checkpoint, kind: EncoderKind | None, generator: GeneratorWeights | None = None
) -> EncoderWeights:
    _require(checkpoint, "encoder")
    return encoder_from_pixel2style2pixel(checkpoint, kind, generator)


def _isf(checkpoint: Checkpoint, attributes: tuple[str, ...] | None, *, residual: bool) -> IsfWeights:
    _require(checkpoint, "isf")
    return isf_from_mapnet(checkpoint, attributes, residual=residual)
