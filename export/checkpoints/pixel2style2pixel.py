"""Reader of pSp and e4e checkpoints: ``{"state_dict": {"encoder.*", "decoder.*"}, "opts": ..., "latent_avg": ...}``.

Both encoders have the same tensors under the same names; they differ in how the style heads' outputs are summed, and
only ``opts`` records which of the two a file holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast

import numpy as np

from export.checkpoints.checkpoint import Checkpoint, state_dict, strip_prefix, tensors_of
from export.checkpoints.rosinality import generator_from_state
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import Shape, check_finite, check_shapes
from export.weights import Array, EncoderWeights, GeneratorWeights

EncoderKind = Literal["psp", "e4e"]

NO_LATENT_AVG = "the encoder was trained without latent_avg; none is added to its codes"

_KINDS: dict[str, EncoderKind] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_FIRST_UNITS = (0, 3, 7, 21)
"""Index of the first residual unit of each of the four stages; there are 24 units."""


def is_pixel2style2pixel(content: object) -> bool:
    """Return whether ``content`` is a checkpoint with an encoder."""
    return any(name.startswith("encoder.") for name in _state(content))


def _state(content: object) -> dict[str, object]:
    return state_dict(content.get("state_dict", content) if isinstance(content, dict) else None)


def decoder_of(checkpoint: Checkpoint) -> GeneratorWeights:
    """Read the generator that the encoder was trained with; in pSp's toonify checkpoint it is the blended generator.

    Raises:
        CheckpointError: the file holds no decoder, or one that is not a StyleGAN2.
    """
    context = checkpoint.context
    decoder = strip_prefix(_state(checkpoint.content), "decoder.")
    if not decoder:
        raise context.error(
            "an encoder without its decoder", expected="a generator", remedy="give a generator's own checkpoint"
        )
    latent_avg = cast(dict[str, object], checkpoint.content).get("latent_avg")
    return generator_from_state(checkpoint, tensors_of(context, decoder, "a decoder"), latent_avg, "pSp/e4e decoder")


def encoder_from_pixel2style2pixel(checkpoint: Checkpoint, kind: EncoderKind | None = None) -> EncoderWeights:
    """Read the encoder; ``kind`` is needed only if the file does not record it.

    Raises:
        CheckpointError: the file holds another encoder (ReStyle, single-style, Z+), is damaged, or its kind is unknown.
    """
    context, content = checkpoint.context, checkpoint.content
    encoder = strip_prefix(_state(content), "encoder.")
    state = tensors_of(context, encoder, "an encoder")
    opts = content.get("opts") if isinstance(content, dict) else None
    opts = opts if isinstance(opts, dict) else {}
    _check_supported(context, state, opts)
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    check_shapes(context, state, _expected_shapes(context, state), "pSp or e4e encoder")
    network_kind = _kind(context, opts, kind)
    tensors = {name: tensor.array() for name, tensor in state.items()}
    check_finite(context, tensors)
    latent_avg, notes = _latent_avg(context, content, opts, _heads(state), tensors["styles.0.linear.weight"].shape[0])
    return EncoderWeights(tensors, checkpoint.source("pSp/e4e"), network_kind, latent_avg, notes)


def _check_supported(context: ReadContext, state: StoredTensors, opts: Mapping[object, object]) -> None:
    stem = state.get("input_layer.0.weight")
    channels = stem.shape[1] if stem is not None and len(stem.shape) == 4 else 3
    z_plus = any(isinstance(k, str) and k.replace("_", "").startswith("zplus") and v is True for k, v in opts.items())
    if channels == 6:
        problem = "a ReStyle encoder, which takes the previous output as well (6 channels)"
    elif channels != 3:
        problem = f"an encoder of {channels}-channel pictures"
    elif "latlayer1.weight" not in state or not _heads(state):
        problem = "an encoder with a single style code or without a feature pyramid"
    elif z_plus:
        problem = "an encoder whose codes are Z+"
    else:
        return
    raise context.error(
        problem,
        expected="pSp's GradualStyleEncoder or e4e's Encoder4Editing",
        remedy="give a pSp or e4e checkpoint of faces",
    )


def _kind(context: ReadContext, opts: Mapping[object, object], requested: EncoderKind | None) -> EncoderKind:
    name = opts.get("encoder_type")
    recorded = _KINDS.get(name) if isinstance(name, str) else None
    if name is not None and recorded is None:
        raise context.error(
            f"the encoder type {clipped(name)}",
            expected=" or ".join(_KINDS),
            remedy="give a pSp or e4e checkpoint of faces",
        )
    if recorded and requested and recorded != requested:
        raise context.error(
            f"an encoder of kind {recorded}", expected=requested, remedy=f"leave the kind out or give {recorded}"
        )
    kind = recorded or requested
    if kind is None:
        raise context.error(
            "an encoder whose file does not say whether it is pSp or e4e",
            expected="opts with an encoder_type",
            remedy="give --kind psp or --kind e4e",
        )
    return kind


def _latent_avg(
    context: ReadContext, content: object, opts: Mapping[object, object], rows: int, w_dim: int
) -> tuple[Array, tuple[str, ...]]:
    latent_avg = content.get("latent_avg") if isinstance(content, dict) else None
    starts_from_average = opts.get("start_from_latent_avg")
    if starts_from_average is False or (latent_avg is None and starts_from_average is None):
        return np.zeros((rows, w_dim), np.float32), (NO_LATENT_AVG,)
    shapes = ((w_dim,), (1, w_dim), (rows, w_dim))
    if not isinstance(latent_avg, StoredTensor) or latent_avg.shape not in shapes:
        raise context.error(
            f"a latent_avg of {list(latent_avg.shape) if isinstance(latent_avg, StoredTensor) else 'another form'}",
            expected=f"[{rows}, {w_dim}], to which the encoder's codes are offsets",
            remedy="give the checkpoint as its training wrote it",
        )
    rows_of_average = np.array(np.broadcast_to(latent_avg.array(), (rows, w_dim)))
    check_finite(context, {"latent_avg": rows_of_average})
    return rows_of_average, ()


def _heads(state: Mapping[str, object]) -> int:
    return sum(re.fullmatch(r"styles\.\d+\.linear\.weight", name) is not None for name in state)


def _expected_shapes(context: ReadContext, state: StoredTensors) -> dict[str, Shape]:
    """Derive every name and shape from the widths of a few tensors: trunk, squeeze and w."""

    def width(name: str, axis: int = 0) -> int:
        if name not in state or len(state[name].shape) <= axis:
            raise context.error(f"no tensor {name!r} of a usable shape", expected="a complete pSp or e4e encoder")
        return state[name].shape[axis]

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
    for head in range(_heads(state)):
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
    # Coarse heads take 16 x 16 maps, middle ones 32 x 32, fine ones 64 x 64; each convolution halves the side.
    convolutions = 4 if head < 3 else 5 if head < 7 else 6
    shapes: dict[str, Shape] = {
        f"styles.{head}.linear.weight": (w_dim, w_dim),
        f"styles.{head}.linear.bias": (w_dim,),
    }
    for i in range(convolutions):
        name = f"styles.{head}.convs.{2 * i}"
        shapes |= {f"{name}.weight": (w_dim, w_dim if i else inputs, 3, 3), f"{name}.bias": (w_dim,)}
    return shapes
