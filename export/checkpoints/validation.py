"""Checks of shapes and values: a network can be built from weights that pass them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from export.checkpoints import stylegan1_layout
from export.checkpoints.layout import Layer, checked_resolution, layers_of, width
from export.checkpoints.stored_tensors import ReadContext, clipped
from export.weights import Tensors, architecture_of

Shape = tuple[int, ...]


class Shaped(Protocol):
    """Any object with a shape: an array or a stored tensor."""

    @property
    def shape(self) -> Shape: ...


def check_shapes(
    context: ReadContext, tensors: Mapping[str, Shaped], expected: Mapping[str, Shape], network: str
) -> None:
    """Raise CheckpointError unless ``tensors`` have exactly the ``expected`` names and shapes."""
    remedy = f"check that the file is a complete {network}"
    # Names are checked first: if a tensor is missing, the expected shapes of others may be wrong.
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise context.error(f"no tensor {missing[0]!r}", expected=f"a complete {network}", remedy=remedy)
    others = sorted(tensors.keys() - expected.keys())
    if others:
        raise context.error(f"the tensor {clipped(others[0])}", expected=f"only those of the {network}", remedy=remedy)
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise context.error(
                f"a tensor {name!r} of shape {list(tensors[name].shape)}", expected=f"{list(shape)}", remedy=remedy
            )


def check_finite(context: ReadContext, tensors: Tensors) -> None:
    """Raise CheckpointError if a weight is not a finite number."""
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise context.error(
                f"NaN or infinity in {name!r}",
                expected="finite weights",
                remedy="choose a checkpoint from before the training diverged",
            )


def check_generator(context: ReadContext, tensors: Tensors) -> None:
    """Check a generator under the canonical names of ``export.weights``.

    Raises:
        CheckpointError: a tensor is missing, unknown, of a shape that does not fit the others, or not finite.
    """
    _check_square(context, tensors)
    _check_rgb(context, tensors)
    matches = (re.match(r"synthesis\.(\d{1,5})\.", name) for name in tensors)
    resolution = checked_resolution(context, max((int(match[1]) for match in matches if match), default=0))
    architecture = architecture_of(tensors)
    shapes = stylegan1_layout.synthesis_shapes if architecture == "StyleGAN1" else _synthesis_shapes
    expected = shapes(resolution, tensors) | _mapping_shapes(tensors)
    check_shapes(context, tensors, expected, f"{architecture} generator")
    check_finite(context, tensors)


def _check_square(context: ReadContext, tensors: Tensors) -> None:
    const = tensors.get("synthesis.4.const")
    if const is not None and const.shape[1:] != (4, 4):
        raise context.error(
            f"a learned constant of {' x '.join(map(str, const.shape[1:]))}",
            expected="4 x 4, a square generator",
            remedy="choose a square generator: other aspect ratios are not supported",
        )


def _check_rgb(context: ReadContext, tensors: Tensors) -> None:
    for name, to_rgb in tensors.items():
        if name.endswith(".rgb.weight") and to_rgb.ndim == 2 and to_rgb.shape[0] != 3:
            raise context.error(
                f"a generator of pictures with {to_rgb.shape[0]} channels",
                expected="3, red, green and blue",
                remedy="choose a generator of colour pictures",
            )


def _synthesis_shapes(resolution: int, tensors: Tensors) -> dict[str, Shape]:
    layers = layers_of(resolution)

    w_dim = width(tensors, "synthesis.4.conv.affine.weight")
    channels = {layer.resolution: width(tensors, f"synthesis.{layer.resolution}.conv.bias") for layer in layers}
    shapes: dict[str, Shape] = {"synthesis.4.const": (channels[4], 4, 4)}
    for layer in layers:
        shapes |= _layer_shapes(layer, channels, w_dim)
    return shapes


def _mapping_shapes(tensors: Tensors) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    w_dim = width(tensors, "synthesis.4.conv.affine.weight")
    depth = sum(name.startswith("mapping.") and name.endswith(".weight") for name in tensors)
    for i in range(depth):
        inputs = w_dim if i else width(tensors, "mapping.0.weight")
        shapes |= {f"mapping.{i}.weight": (w_dim, inputs), f"mapping.{i}.bias": (w_dim,)}
    if "mapping.w_avg" in tensors:
        shapes["mapping.w_avg"] = (w_dim,)
    return shapes


def _layer_shapes(layer: Layer, channels: dict[int, int], w_dim: int) -> dict[str, Shape]:
    r = layer.resolution
    inputs = channels[r // 2 if layer.kind == "up" else r]
    outputs, kernel = (3, ()) if layer.kind == "rgb" else (channels[r], (3, 3))
    shapes: dict[str, Shape] = {
        "weight": (outputs, inputs, *kernel),
        "bias": (outputs,),
        "affine.weight": (inputs, w_dim),
        "affine.bias": (inputs,),
        "noise_strength": (),
        "noise": (r, r),
    }
    return {f"{layer.name}.{part}": shapes[part] for part in layer.parts}
