"""Writing checkpoints that this package and the original projects can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from engines.contract.atomic import atomic_file
from engines.contract.errors import CheckpointError
from engines.contract.tensors import resolution_of
from export.checkpoints.layout import FIR
from export.checkpoints.rosinality import filter_names, official_array, official_names
from export.checkpoints.safetensors_files import metadata_of
from export.weights import (
    ClassifierWeights,
    EncoderKind,
    EncoderWeights,
    GeneratorWeights,
    Heads,
    IsfWeights,
    Tensors,
)

if TYPE_CHECKING:
    import torch

_ENCODER_TYPES: Mapping[tuple[EncoderKind, Heads], str] = {
    ("psp", "pyramid"): "GradualStyleEncoder",
    ("e4e", "pyramid"): "Encoder4Editing",
    ("psp", "one"): "BackboneEncoderUsingLastLayerIntoW",
    ("psp", "all"): "BackboneEncoderUsingLastLayerIntoWPlus",
    ("psp", "last"): "BackboneEncoder",
    ("e4e", "last"): "ProgressiveBackboneEncoder",
}


def write_rosinality(
    weights: GeneratorWeights, path: Path, *, half: bool = False, drop_clamp: bool = False, force: bool = False
) -> None:
    """Write a generator as ``{"g_ema": ..., "latent_avg": ...}``; ``half`` stores float16.

    Raises:
        CheckpointError: the generator is no StyleGAN2; it has a conv_clamp, which the format cannot hold, and
            ``drop_clamp`` is false; or a weight is too large for float16.
        ExportError: ``path`` exists and ``force`` is false.
    """
    if weights.architecture != "StyleGAN2":
        raise CheckpointError(
            str(path),
            got=f"a {weights.architecture} generator",
            expected="a StyleGAN2 generator, the only one for which rosinality's format has names",
            remedy="write .safetensors",
        )
    if weights.conv_clamp is not None and not drop_clamp:
        raise CheckpointError(
            str(path),
            got=f"a generator with conv_clamp {weights.conv_clamp:g}",
            expected="one without, as rosinality's format cannot hold it",
            remedy="write .safetensors, or give --drop-clamp to lose the clamp",
        )
    names = official_names(weights.resolution, weights.mapping_depth)
    state = {official: official_array(name, weights.tensors[name]) for name, official in names.items()}
    state |= dict.fromkeys(filter_names(weights.resolution), FIR * 4)
    content: dict[str, Any] = {"g_ema": _torch_tensors(path, state, half=half)}
    if "mapping.w_avg" in weights.tensors:
        content |= _torch_tensors(path, {"latent_avg": weights.tensors["mapping.w_avg"]}, half=half)
    _save(content, path, force=force)


def write_generator_safetensors(
    weights: GeneratorWeights, path: Path, *, half: bool = False, force: bool = False
) -> None:
    """Write a generator's canonical tensors, with conv_clamp, fp16_from and notes as metadata; ``half`` stores float16.

    Raises:
        CheckpointError: a weight is too large for float16.
        ExportError: ``path`` exists and ``force`` is false.
    """
    tensors = {name: _converted_array(path, name, array, half=half) for name, array in weights.tensors.items()}
    # safetensors' save_file reports a full disk in its own class, and makes a file that only its owner can read.
    with atomic_file(path, force=force) as partial:
        partial.write_bytes(save(tensors, metadata=metadata_of(weights)))


def write_encoder(weights: EncoderWeights, path: Path, *, half: bool = False, force: bool = False) -> None:
    """Write an encoder on IR-SE-50 as ``{"state_dict": {"encoder.*"}, "opts": ..., "latent_avg": ...}``.

    ReStyle's is written without its decoder, which ``read_encoder`` then takes from a generator's checkpoint, and
    without the encoder of its first step. ``half`` stores float16.

    Raises:
        CheckpointError: the encoder has another architecture, or a weight is too large for float16.
        ExportError: ``path`` exists and ``force`` is false.
    """
    import torch

    encoder_type = _ENCODER_TYPES.get((weights.kind, weights.heads))
    if encoder_type is None or weights.trunk != "irse50":
        raise CheckpointError(
            str(path),
            got=weights.architecture,
            expected="an encoder on IR-SE-50",
            remedy="keep its own checkpoint",
        )
    state = _torch_tensors(path, {f"encoder.{name}": array for name, array in weights.tensors.items()}, half=half)
    # The official classes expect BatchNorm's counters, which inference does not use.
    means = [name for name in state if name.endswith("running_mean")]
    state |= {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    opts = {
        "encoder_type": encoder_type,
        "output_size": resolution_of(weights.rows),
        "start_from_latent_avg": True,
        "learn_in_w": weights.heads == "one",
        "input_nc": 6 if weights.corrects else 3,
    }
    opts |= {"n_iters_per_batch": weights.steps} if weights.corrects else {}
    content = {"state_dict": state, "opts": opts, **_torch_tensors(path, {"latent_avg": weights.latent_avg}, half=half)}
    _save(content, path, force=force)


def write_isf(
    weights: IsfWeights,
    path: Path,
    *,
    classifier: ClassifierWeights | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write an ISF head as ``{"mapnet": ..., "discriminator": ...}``, the latter if there is a classifier.

    The format cannot hold attribute names and the residual flag.

    Raises:
        CheckpointError: a weight is too large for float16.
        ExportError: ``path`` exists and ``force`` is false.
    """
    content = {"mapnet": _torch_tensors(path, weights.tensors, half=half)}
    if classifier:
        content["discriminator"] = _torch_tensors(path, classifier.tensors, half=half)
    _save(content, path, force=force)


def _converted_array(path: Path, name: str, array: NDArray[np.float32], *, half: bool) -> NDArray[Any]:
    # safetensors copies raw memory and ignores strides; np.array makes it contiguous and keeps 0 dimensions.
    if not half:
        return np.array(array, order="C")
    with np.errstate(over="ignore"):
        halved = array.astype(np.float16)
    if not np.isfinite(halved).all():
        raise CheckpointError(
            str(path), got=f"a weight of {name!r} beyond 65504", expected="float16 weights", remedy="store float32"
        )
    return halved


def _torch_tensors(path: Path, tensors: Tensors | Mapping[str, NDArray[Any]], *, half: bool) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.from_numpy(_converted_array(path, name, array, half=half)) for name, array in tensors.items()}


def _save(content: dict[str, Any], path: Path, *, force: bool) -> None:
    # torch is slow to import, and only writing needs it.
    import torch

    # With a path instead of a file, torch reports a full disk as a RuntimeError without the reason.
    with atomic_file(path, force=force) as partial, partial.open("wb") as file:
        torch.save(content, file)
