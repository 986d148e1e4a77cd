"""Reader of encoders: ``{"state_dict": {"encoder.*", "decoder.*"}, "opts": ..., "latent_avg": ...}``.

pSp, e4e and ReStyle write this form. The tensors show the architecture, but not how the style heads' outputs are
summed, which pSp and e4e do differently: only ``opts`` records that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from engines.contract.errors import CheckpointError
from engines.contract.tensors import rows_of
from export.checkpoints.checkpoint import Checkpoint, state_dict, strip_prefix, tensors_of
from export.checkpoints.encoder_shapes import count_heads, encoder_shapes, heads_of, with_canonical_stem
from export.checkpoints.layout import LARGEST_RESOLUTION
from export.checkpoints.rosinality import generator_from_state
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import check_finite, check_shapes
from export.weights import Array, EncoderKind, EncoderWeights, GeneratorWeights, Heads

MAX_STEPS = 20
"""The largest number of steps of a ReStyle encoder, each of which adds its nodes to the graph."""

NO_LATENT_AVG = "the encoder was trained without latent_avg; none is added to its codes"

ASSUMED_SIZE = "the file does not record the size of its generator's pictures; 1024x1024 is assumed"

_TYPES: dict[str, tuple[EncoderKind, Heads]] = {
    "GradualStyleEncoder": ("psp", "pyramid"),
    "ResNetGradualStyleEncoder": ("psp", "pyramid"),
    "Encoder4Editing": ("e4e", "pyramid"),
    "BackboneEncoder": ("psp", "last"),
    "ResNetBackboneEncoder": ("psp", "last"),
    "ProgressiveBackboneEncoder": ("e4e", "last"),
    "ResNetProgressiveBackboneEncoder": ("e4e", "last"),
    "BackboneEncoderUsingLastLayerIntoW": ("psp", "one"),
    "SingleStyleCodeEncoder": ("psp", "one"),
    "BackboneEncoderUsingLastLayerIntoWPlus": ("psp", "all"),
}
_OFFICIAL_SIZE, _OFFICIAL_STEPS = 1024, 5
"""What the official code assumes where the options are silent."""


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


def has_whole_decoder(checkpoint: Checkpoint) -> bool:
    """Return whether the file holds the encoder's generator with its mapping network."""
    return any(name.startswith("decoder.style.") for name in _state(checkpoint.content))


def encoder_from_pixel2style2pixel(
    checkpoint: Checkpoint,
    kind: EncoderKind | None = None,
    generator: GeneratorWeights | None = None,
    *,
    needs_decoder: bool = True,
) -> EncoderWeights:
    """Read the encoder.

    Args:
        checkpoint: the content of its file.
        kind: is needed only if the file does not record it.
        generator: the decoder of a ReStyle encoder whose file holds none.
        needs_decoder: whether a ReStyle encoder without a decoder is refused.

    Raises:
        CheckpointError: the file holds another encoder (Z+, a sketch's), is damaged, or its kind is unknown.
    """
    context, content = checkpoint.context, checkpoint.content
    encoder = strip_prefix(_state(content), "encoder.")
    state = with_canonical_stem(tensors_of(context, encoder, "an encoder"))
    opts = content.get("opts") if isinstance(content, dict) else None
    opts = opts if isinstance(opts, dict) else {}
    heads, iterates = _checked_architecture(context, state, opts)
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    check_shapes(context, state, encoder_shapes(context, state, heads), "encoder")
    network_kind = _kind(context, opts, kind, heads)
    tensors = {name: tensor.array() for name, tensor in state.items()}
    check_finite(context, tensors)
    rows, w_dim, size_notes = _codes(state, content, opts, heads)
    latent_avg, notes = _latent_avg(context, content, opts, rows, w_dim, needed=iterates)
    has_decoder = needs_decoder or any(name.startswith("decoder.") for name in _state(content))
    decoder = picture_decoder(checkpoint, rows, w_dim, generator) if iterates and has_decoder else None
    steps = _steps(context, opts) if iterates else 1
    source = checkpoint.source("ReStyle" if iterates else "pSp/e4e")
    notes += size_notes + (decoder.notes if decoder else ())
    return EncoderWeights(tensors, source, network_kind, latent_avg, notes, decoder, steps)


def _checked_architecture(
    context: ReadContext, state: StoredTensors, opts: Mapping[object, object]
) -> tuple[Heads, bool]:
    """Return the heads of a supported encoder, and whether it is ReStyle's, which takes the previous picture too."""
    stem = state.get("input_layer.0.weight")
    channels = stem.shape[1] if stem is not None and len(stem.shape) == 4 else 3
    z_plus = any(isinstance(k, str) and k.replace("_", "").startswith("zplus") and v is True for k, v in opts.items())
    heads = heads_of(state)
    if channels not in (3, 6):
        problem = f"an encoder of {channels}-channel pictures"
    elif z_plus:
        problem = "an encoder whose codes are Z+"
    elif heads is None:
        problem = "an encoder without style heads or a linear layer"
    else:
        return heads, channels == 6
    raise context.error(
        problem,
        expected="an encoder of pSp, e4e or ReStyle",
        remedy="give a pSp, e4e or ReStyle checkpoint of faces",
    )


def picture_decoder(
    checkpoint: Checkpoint, rows: int, w_dim: int, generator: GeneratorWeights | None = None
) -> GeneratorWeights:
    """Read the decoder whose pictures a ReStyle encoder takes, without its mapping network, which is not needed.

    ``generator`` takes its place where the encoder's file holds none.

    Raises:
        CheckpointError: there is no decoder, it is not a StyleGAN2, or its codes are not those of the encoder.
    """
    context = checkpoint.context
    decoder = strip_prefix(_state(checkpoint.content), "decoder.")
    if decoder:
        synthesis = {name: tensor for name, tensor in decoder.items() if not name.startswith("style.")}
        weights = generator_from_state(checkpoint, tensors_of(context, synthesis, "a decoder"), None, "ReStyle decoder")
    elif generator:
        weights = without_mapping(generator)
    else:
        raise context.error(
            "an encoder without its decoder",
            expected="one with its decoder, whose pictures ReStyle compares with the face",
            remedy="give the checkpoint as its training wrote it, or --generator",
        )
    if (weights.architecture, weights.rows, weights.w_dim) != ("StyleGAN2", rows, w_dim):
        raise CheckpointError(
            str(weights.source.path),
            got=f"a {weights.architecture} decoder of {weights.rows} rows of {weights.w_dim}",
            expected=f"a StyleGAN2 of {rows} rows of {w_dim}, as the encoder gives",
            remedy="give the decoder of its training",
        )
    return weights


def without_mapping(weights: GeneratorWeights) -> GeneratorWeights:
    """Return a generator's synthesis network alone."""
    tensors = {name: value for name, value in weights.tensors.items() if name.startswith("synthesis.")}
    return replace(weights, tensors=tensors)


def _steps(context: ReadContext, opts: Mapping[object, object]) -> int:
    steps = opts.get("n_iters_per_batch", _OFFICIAL_STEPS)
    if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        raise context.error(f"n_iters_per_batch = {clipped(steps)}", expected=f"1 to {MAX_STEPS} steps")
    return steps


def _codes(
    state: StoredTensors, content: object, opts: Mapping[object, object], heads: Heads
) -> tuple[int, int, tuple[str, ...]]:
    """Return the numbers of rows and of columns of the codes, and a note where the rows are not recorded."""
    if heads in ("pyramid", "last"):
        return count_heads(state), state["styles.0.linear.weight"].shape[0], ()
    if heads == "all":
        total, w_dim = state["linear.weight"].shape
        return total // w_dim, w_dim, ()
    w_dim = state["linear.weight"].shape[0]
    latent_avg = content.get("latent_avg") if isinstance(content, dict) else None
    if isinstance(latent_avg, StoredTensor) and len(latent_avg.shape) == 2 and latent_avg.shape[0] > 1:
        return latent_avg.shape[0], w_dim, ()
    size = opts.get("output_size", opts.get("stylegan_size"))
    if isinstance(size, int) and 8 <= size <= LARGEST_RESOLUTION and not size & (size - 1):
        return rows_of(size), w_dim, ()
    return rows_of(_OFFICIAL_SIZE), w_dim, (ASSUMED_SIZE,)


def _kind(
    context: ReadContext, opts: Mapping[object, object], requested: EncoderKind | None, heads: Heads
) -> EncoderKind:
    name = opts.get("encoder_type")
    types = {type_name: kind for type_name, (kind, its_heads) in _TYPES.items() if its_heads == heads}
    recorded = types.get(name) if isinstance(name, str) else None
    if name is not None and recorded is None:
        raise context.error(
            f"the encoder type {clipped(name)}",
            expected=f"one with the tensors of this file: {', '.join(types)}",
            remedy="give a pSp, e4e or ReStyle checkpoint of faces",
        )
    if heads in ("one", "all"):
        return "psp"
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
    context: ReadContext, content: object, opts: Mapping[object, object], rows: int, w_dim: int, *, needed: bool
) -> tuple[Array, tuple[str, ...]]:
    """Return the average latent [L, D]; zeros where there is none, unless it is ``needed``.

    ReStyle always starts from it, whatever its option says.
    """
    latent_avg = content.get("latent_avg") if isinstance(content, dict) else None
    starts_from_average = True if needed else opts.get("start_from_latent_avg")
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
