"""pSp and e4e checkpoints: ``{"state_dict": {"encoder.*", "decoder.*"}, "opts": ..., "latent_avg": ...}``.

Both encoders have the same tensors under the same names; which sum follows the style heads only ``opts`` tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast

import numpy as np

from export.checkpoints.checkpoint import Checkpoint, tensors_of, with_prefix
from export.checkpoints.rosinality import generator_from_state
from export.checkpoints.stored import Reading, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import Shape, check_finite, check_shapes
from export.weights import Array, EncoderWeights, GeneratorWeights

EncoderKind = Literal["psp", "e4e"]

NO_LATENT_AVG = "the encoder was trained without latent_avg; none is added to its codes"

_KINDS: dict[str, EncoderKind] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_FIRST_UNITS = (0, 3, 7, 21)
"""Index of the first residual unit of each of the four stages; there are 24 units."""


def is_pixel2style2pixel(content: object) -> bool:
    """Whether ``content`` is a checkpoint with an encoder."""
    state = _state(content)
    return any(isinstance(name, str) and name.startswith("encoder.") for name in state)


def _state(content: object) -> dict[object, object]:
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    return state if isinstance(state, dict) else {}


def decoder_of(checkpoint: Checkpoint) -> GeneratorWeights:
    """The generator that the encoder was trained with; for pSp's toonify checkpoint this is the blended generator.

    Raises:
        CheckpointError: the file holds none, or not a StyleGAN2.
    """
    reading = checkpoint.reading
    decoder = with_prefix(_state(checkpoint.content), "decoder.")
    if not decoder:
        raise reading.error(
            "an encoder without its decoder", expected="a generator", remedy="give a generator's own checkpoint"
        )
    latent_avg = cast(dict[str, object], checkpoint.content).get("latent_avg")
    return generator_from_state(checkpoint, tensors_of(reading, decoder, "a decoder"), latent_avg, "pSp/e4e decoder")


def encoder_from_pixel2style2pixel(checkpoint: Checkpoint, kind: EncoderKind | None = None) -> EncoderWeights:
    """Read the encoder; ``kind`` decides where the file does not.

    Raises:
        CheckpointError: it is another encoder (ReStyle, single-style, Z+), its kind is not known, or it is damaged.
    """
    reading, content = checkpoint.reading, checkpoint.content
    encoder = with_prefix(_state(content), "encoder.")
    stored = tensors_of(reading, encoder, "an encoder")
    opts = content.get("opts") if isinstance(content, dict) else None
    opts = opts if isinstance(opts, dict) else {}
    _refuse_others(reading, stored, opts)
    stored = {name: tensor for name, tensor in stored.items() if not name.endswith("num_batches_tracked")}
    check_shapes(reading, stored, _expected_shapes(reading, stored), "pSp or e4e encoder")
    found = _kind(reading, opts, kind)
    tensors = {name: tensor.array() for name, tensor in stored.items()}
    check_finite(reading, tensors)
    latent_avg, notes = _latent_avg(reading, content, opts, _heads(stored), tensors["styles.0.linear.weight"].shape[0])
    return EncoderWeights(tensors, checkpoint.source("pSp/e4e"), found, latent_avg, notes)


def _refuse_others(reading: Reading, stored: StoredTensors, opts: Mapping[object, object]) -> None:
    stem = stored.get("input_layer.0.weight")
    channels = stem.shape[1] if stem is not None and len(stem.shape) == 4 else 3
    z_plus = any(isinstance(k, str) and k.replace("_", "").startswith("zplus") and v is True for k, v in opts.items())
    if channels == 6:
        problem = "a ReStyle encoder, which takes the previous output as well (6 channels)"
    elif channels != 3:
        problem = f"an encoder of {channels}-channel pictures"
    elif "latlayer1.weight" not in stored or not _heads(stored):
        problem = "an encoder with a single style code or without a feature pyramid"
    elif z_plus:
        problem = "an encoder whose codes are Z+"
    else:
        return
    raise reading.error(
        problem,
        expected="pSp's GradualStyleEncoder or e4e's Encoder4Editing",
        remedy="give a pSp or e4e checkpoint of faces",
    )


def _kind(reading: Reading, opts: Mapping[object, object], wanted: EncoderKind | None) -> EncoderKind:
    name = opts.get("encoder_type")
    found = _KINDS.get(name) if isinstance(name, str) else None
    if name is not None and found is None:
        raise reading.error(
            f"the encoder type {clipped(name)}",
            expected=" or ".join(_KINDS),
            remedy="give a pSp or e4e checkpoint of faces",
        )
    if found and wanted and found != wanted:
        raise reading.error(
            f"an encoder of kind {found}", expected=wanted, remedy=f"leave the kind out or give {found}"
        )
    decided = found or wanted
    if decided is None:
        raise reading.error(
            "an encoder whose file does not say whether it is pSp or e4e",
            expected="opts with an encoder_type",
            remedy="give --kind psp or --kind e4e",
        )
    return decided


def _latent_avg(
    reading: Reading, content: object, opts: Mapping[object, object], rows: int, w_dim: int
) -> tuple[Array, tuple[str, ...]]:
    stored = content.get("latent_avg") if isinstance(content, dict) else None
    starts_from_it = opts.get("start_from_latent_avg")
    if starts_from_it is False or (stored is None and starts_from_it is None):
        return np.zeros((rows, w_dim), np.float32), (NO_LATENT_AVG,)
    shapes = ((w_dim,), (1, w_dim), (rows, w_dim))
    if not isinstance(stored, StoredTensor) or stored.shape not in shapes:
        raise reading.error(
            f"a latent_avg of {list(stored.shape) if isinstance(stored, StoredTensor) else 'another form'}",
            expected=f"[{rows}, {w_dim}], to which the encoder's codes are offsets",
            remedy="give the checkpoint as its training wrote it",
        )
    latent_avg = np.array(np.broadcast_to(stored.array(), (rows, w_dim)))
    check_finite(reading, {"latent_avg": latent_avg})
    return latent_avg, ()


def _heads(stored: Mapping[str, object]) -> int:
    return sum(re.fullmatch(r"styles\.\d+\.linear\.weight", name) is not None for name in stored)


def _expected_shapes(reading: Reading, stored: StoredTensors) -> dict[str, Shape]:
    """Every name and shape, from the widths of a few tensors: trunk, squeeze and w."""

    def width(name: str, axis: int = 0) -> int:
        if name not in stored or len(stored[name].shape) <= axis:
            raise reading.error(f"no tensor {name!r} of a usable shape", expected="a complete pSp or e4e encoder")
        return stored[name].shape[axis]

    stem = width("input_layer.0.weight")
    stages = [width(f"body.{unit}.res_layer.3.weight") for unit in _FIRST_UNITS]
    w_dim = width("styles.0.linear.weight")
    shapes: dict[str, Shape] = {"input_layer.0.weight": (stem, 3, 3, 3), "input_layer.2.weight": (stem,)}
    shapes |= _batch_norm("input_layer.1", stem)
    for unit in range(24):
        stage = sum(unit >= first for first in _FIRST_UNITS) - 1
        inputs = stages[stage] if unit not in _FIRST_UNITS else stages[stage - 1] if stage else stem
        shapes |= _unit_shapes(f"body.{unit}", inputs, stages[stage], width(f"body.{unit}.res_layer.5.fc1.weight"))
    for name, inputs in (("latlayer1", stages[2]), ("latlayer2", stages[1])):
        shapes |= {f"{name}.weight": (stages[3], inputs, 1, 1), f"{name}.bias": (stages[3],)}
    for head in range(_heads(stored)):
        shapes |= _head_shapes(head, stages[3], w_dim)
    return shapes


def _batch_norm(name: str, channels: int) -> dict[str, Shape]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _unit_shapes(name: str, inputs: int, outputs: int, squeezed: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        f"{name}.res_layer.1.weight": (outputs, inputs, 3, 3),
        f"{name}.res_layer.2.weight": (outputs,),
        f"{name}.res_layer.3.weight": (outputs, outputs, 3, 3),
        f"{name}.res_layer.5.fc1.weight": (squeezed, outputs, 1, 1),
        f"{name}.res_layer.5.fc2.weight": (outputs, squeezed, 1, 1),
    }
    shapes |= _batch_norm(f"{name}.res_layer.0", inputs) | _batch_norm(f"{name}.res_layer.4", outputs)
    if inputs != outputs:
        shapes[f"{name}.shortcut_layer.0.weight"] = (outputs, inputs, 1, 1)
        shapes |= _batch_norm(f"{name}.shortcut_layer.1", outputs)
    return shapes


def _head_shapes(head: int, inputs: int, w_dim: int) -> dict[str, Shape]:
    # Coarse heads see 16 x 16 maps, middle ones 32 x 32, fine ones 64 x 64; each convolution halves the side.
    convolutions = 4 if head < 3 else 5 if head < 7 else 6
    shapes: dict[str, Shape] = {
        f"styles.{head}.linear.weight": (w_dim, w_dim),
        f"styles.{head}.linear.bias": (w_dim,),
    }
    for i in range(convolutions):
        name = f"styles.{head}.convs.{2 * i}"
        shapes |= {f"{name}.weight": (w_dim, w_dim if i else inputs, 3, 3), f"{name}.bias": (w_dim,)}
    return shapes
