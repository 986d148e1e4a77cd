"""Shape and value checks: after them, a network can be built without any further question."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from export.checkpoints.layout import Layer, checked_resolution, layers_of
from export.checkpoints.stored import Reading, clipped
from export.weights import Tensors

Shape = tuple[int, ...]


class Shaped(Protocol):
    """An array or a tensor, as far as its shape is concerned."""

    @property
    def shape(self) -> Shape: ...


def check_shapes(reading: Reading, tensors: Mapping[str, Shaped], expected: Mapping[str, Shape], network: str) -> None:
    """Raise CheckpointError unless ``tensors`` have exactly the names and shapes ``expected``."""
    remedy = f"check that the file is a complete {network}"
    # Names first: where a tensor is missing, the expected shapes of others may be wrong.
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise reading.error(f"no tensor {missing[0]!r}", expected=f"a complete {network}", remedy=remedy)
    others = sorted(tensors.keys() - expected.keys())
    if others:
        raise reading.error(f"the tensor {clipped(others[0])}", expected=f"only those of the {network}", remedy=remedy)
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise reading.error(
                f"a tensor {name!r} of shape {list(tensors[name].shape)}", expected=f"{list(shape)}", remedy=remedy
            )


def check_finite(reading: Reading, tensors: Tensors) -> None:
    """Raise CheckpointError where a weight is not a finite number."""
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise reading.error(
                f"NaN or infinity in {name!r}",
                expected="finite weights",
                remedy="choose a checkpoint from before it diverged",
            )


def check_generator(reading: Reading, tensors: Tensors) -> None:
    """Check a generator under the canonical names of ``export.weights``.

    Raises:
        CheckpointError: a tensor is missing, unknown, of a shape that does not fit the others, or not finite.
    """
    _check_square(reading, tensors)
    check_shapes(reading, tensors, _generator_shapes(reading, tensors), "StyleGAN2 generator")
    check_finite(reading, tensors)


def _check_square(reading: Reading, tensors: Tensors) -> None:
    const = tensors.get("synthesis.4.const")
    if const is not None and const.shape[1:] != (4, 4):
        raise reading.error(
            f"a learned constant of {' x '.join(map(str, const.shape[1:]))}",
            expected="4 x 4, a square generator",
            remedy="generators of other aspect ratios are not supported",
        )


def _generator_shapes(reading: Reading, tensors: Tensors) -> dict[str, Shape]:
    found = (re.match(r"synthesis\.(\d{1,5})\.", name) for name in tensors)
    layers = layers_of(checked_resolution(reading, max((int(match[1]) for match in found if match), default=0)))

    # The width of w and of each resolution from one tensor each; check_shapes compares all others with them.
    def width(name: str) -> int:
        array = tensors.get(name)
        return array.shape[-1] if array is not None and array.ndim else 0

    w_dim = width("synthesis.4.conv.affine.weight")
    channels = {layer.resolution: width(f"synthesis.{layer.resolution}.conv.bias") for layer in layers}
    shapes: dict[str, Shape] = {"synthesis.4.const": (channels[4], 4, 4)}
    for layer in layers:
        shapes |= _layer_shapes(layer, channels, w_dim)
    depth = sum(name.startswith("mapping.") and name.endswith(".weight") for name in tensors)
    for i in range(depth):
        inputs = w_dim if i else width("mapping.0.weight")
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
