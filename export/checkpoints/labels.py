"""Conditional generators of stylegan2-ada: one class is folded into the mapping network, which then takes z alone.

The mapping network embeds a label, normalises the embedding, and appends it to the normalised z. For a fixed class the
embedding is a constant, and its product with the first layer's weight is a part of that layer's bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.checkpoints.stored_tensors import ReadContext
from export.weights import Array, Tensors

_EPSILON = 1e-8
"""That of the normalisation; see ``export.networks.generator``."""


def check_unconditional(context: ReadContext, label: int | None) -> None:
    """Raise CheckpointError if a class is asked for."""
    if label is not None:
        raise context.error(
            f"--label {label} for a network without classes",
            expected="a conditional generator of stylegan2-ada",
            remedy="leave --label out",
        )


def folded_label(
    context: ReadContext, tensors: Tensors, embedding: tuple[Array, Array] | None, label: int | None
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Return a conditional mapping network's first layer for one class, and a note; nothing if it is unconditional.

    Args:
        context: the file's name for errors.
        tensors: canonical tensors, whose ``mapping.0.weight`` [D, Z + E] takes z and the label's embedding.
        embedding: weight [E, C] and bias [E] of the embedding of C classes; None if the network is unconditional.
        label: the class; None if the user gave none.

    Returns:
        ``mapping.0.weight`` [D, Z] and ``mapping.0.bias`` [D], and the note.

    Raises:
        CheckpointError: the class is missing or is none of the network's, or the shapes do not fit each other.
    """
    if embedding is None:
        check_unconditional(context, label)
        return {}, ()
    size, classes = _checked_shape(context, tensors, embedding)
    chosen = _checked_label(context, label, classes)
    weight, bias = tensors["mapping.0.weight"], tensors["mapping.0.bias"]
    inputs = weight.shape[1]
    z_dim = inputs - size
    # Numbers that overflow are refused with all others that are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        added = weight[:, z_dim:] @ _embedded(embedding, chosen) / np.sqrt(inputs)
        # The gain of the equalised learning rate is 1 / sqrt(Z + E) in the file, and 1 / sqrt(Z) for the folded layer.
        layer = {
            "mapping.0.weight": (weight[:, :z_dim] * np.sqrt(z_dim / inputs)).astype(np.float32),
            "mapping.0.bias": (bias + added).astype(np.float32),
        }
    return layer, (f"class {label} of {classes} is folded into the mapping network",)


def _embedded(embedding: tuple[Array, Array], label: int) -> NDArray[np.float64]:
    """Return the normalised embedding of a class, [E]."""
    weight, bias = (array.astype(np.float64) for array in embedding)
    y = weight[:, label] / np.sqrt(weight.shape[1]) + bias
    normalised: NDArray[np.float64] = y / np.sqrt(np.mean(y**2) + _EPSILON)
    return normalised


def _checked_label(context: ReadContext, label: int | None, classes: int) -> int:
    if label is None or not 0 <= label < classes:
        raise context.error(
            f"a conditional generator of {classes} classes and {'no class' if label is None else f'--label {label}'}",
            expected="one of its classes, which is folded into the mapping network",
            remedy=f"give --label N with N from 0 to {classes - 1}",
        )
    return label


def _checked_shape(context: ReadContext, tensors: Tensors, embedding: tuple[Array, Array]) -> tuple[int, int]:
    """Return the width of the embedding and the number of classes."""
    layer = [tensors[name] for name in ("mapping.0.weight", "mapping.0.bias") if name in tensors]
    match [array.shape for array in (*layer, *embedding)]:
        case (outputs, inputs), (rows,), (size, classes), (other,) if outputs == rows and size == other < inputs:
            return size, classes
    shapes = [", ".join(str([*array.shape]) for array in pair) or "none" for pair in (layer, embedding)]
    raise context.error(
        f"an embedding of labels of the shapes {shapes[1]} before a first layer of the shapes {shapes[0]}",
        expected="[E, C] and [E] before a layer of [D, Z + E] and [D]",
    )
