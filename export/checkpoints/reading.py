"""Which network a file holds, and the reader for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from export.checkpoints import nvlabs, tensorflow
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.isf import is_isf, isf_from_mapnet
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.pixel2style2pixel import (
    EncoderKind,
    decoder_of,
    encoder_from_pixel2style2pixel,
    is_pixel2style2pixel,
)
from export.checkpoints.rosinality import generator_from_rosinality
from export.checkpoints.safetensors_files import SafetensorsFile, generator_from_safetensors
from export.weights import EncoderWeights, GeneratorWeights, IsfWeights

Network = Literal["generator", "encoder", "isf"]


def read_generator(path: Path) -> GeneratorWeights:
    """Read a StyleGAN2 generator of any supported format; of a pSp or e4e checkpoint its decoder.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network.
    """
    return _generator(open_checkpoint(path))


def read_encoder(path: Path, kind: EncoderKind | None = None) -> EncoderWeights:
    """Read a pSp or e4e encoder; ``kind`` decides where the file does not say which it is.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network; or its kind is not known.
    """
    return _encoder(open_checkpoint(path), kind)


def read_isf(path: Path, attributes: tuple[str, ...] | None = None, *, residual: bool = False) -> IsfWeights:
    """Read an ISF head.

    Args:
        path: a checkpoint file.
        attributes: names in the order of training; by default the published four, where their number fits.
        residual: whether it was trained with ``use_residual``, which leaves no trace in the file.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network; or its attributes are not known.
    """
    return _isf(open_checkpoint(path), attributes, residual=residual)


def read_checkpoint(
    path: Path,
    *,
    kind: EncoderKind | None = None,
    attributes: tuple[str, ...] | None = None,
    residual: bool = False,
) -> GeneratorWeights | EncoderWeights | IsfWeights:
    """Read whichever network the file holds; a pSp or e4e checkpoint is taken as its encoder.

    Raises:
        CheckpointError: as the three readers do.
    """
    checkpoint = open_checkpoint(path)
    match _network_of(checkpoint.content):
        case "isf":
            return _isf(checkpoint, attributes, residual=residual)
        case "encoder":
            return _encoder(checkpoint, kind)
        case "generator":
            return _generator(checkpoint)


def _network_of(content: object) -> Network:
    if is_isf(content):
        return "isf"
    return "encoder" if is_pixel2style2pixel(content) else "generator"


def _require(checkpoint: Checkpoint, expected: Network) -> None:
    found = _network_of(checkpoint.content)
    names = {"generator": "a generator", "encoder": "an encoder", "isf": "an ISF head"}
    if found != expected:
        raise checkpoint.reading.error(
            f"{names[found]}, if anything" if found == "generator" else names[found],
            expected=names[expected],
            remedy="give the checkpoint of that network",
        )


def _generator(checkpoint: Checkpoint) -> GeneratorWeights:
    content = checkpoint.content
    if is_pixel2style2pixel(content):
        return decoder_of(checkpoint)
    _require(checkpoint, "generator")
    if isinstance(content, SafetensorsFile):
        return generator_from_safetensors(checkpoint, content)
    if (module := nvlabs.generator_of(content)) is not None:
        return nvlabs.generator_from_nvlabs(checkpoint, module)
    if (network := tensorflow.generator_of(content)) is not None:
        return tensorflow.generator_from_tensorflow(checkpoint, network)
    return generator_from_rosinality(checkpoint)


def _encoder(checkpoint: Checkpoint, kind: EncoderKind | None) -> EncoderWeights:
    _require(checkpoint, "encoder")
    return encoder_from_pixel2style2pixel(checkpoint, kind)


def _isf(checkpoint: Checkpoint, attributes: tuple[str, ...] | None, *, residual: bool) -> IsfWeights:
    _require(checkpoint, "isf")
    return isf_from_mapnet(checkpoint, attributes, residual=residual)
