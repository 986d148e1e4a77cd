"""The names and shapes of an encoder's tensors, derived from the widths of a few of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate

from export.checkpoints.checkpoint import strip_prefix
from export.checkpoints.stored_tensors import ReadContext, StoredTensors
from export.checkpoints.validation import Shape
from export.weights import POOLED, STAGE_UNITS, Heads, trunk_of

_RESNET_STEM = {"conv1.": "input_layer.0.", "bn1.": "input_layer.1.", "relu.": "input_layer.2."}


def with_canonical_stem(state: StoredTensors) -> StoredTensors:
    """Return the tensors with the stem of a ResNet-34 under the names of that of IR-SE-50."""
    renamed = dict(state)
    for official, name in _RESNET_STEM.items():
        for part in strip_prefix(state, official):
            renamed[f"{name}{part}"] = renamed.pop(f"{official}{part}")
    return renamed


def heads_of(state: Mapping[str, object]) -> Heads | None:
    """Return how the codes are read from the trunk's maps; None for an unknown encoder."""
    if count_heads(state):
        return "pyramid" if "latlayer1.weight" in state else "last"
    if "linear.weight" not in state:
        return None
    return "all" if "output_layer_2.0.weight" in state else "one"


def count_heads(state: Mapping[str, object]) -> int:
    """Return the number of style heads."""
    return sum(re.fullmatch(r"styles\.\d+\.linear\.weight", name) is not None for name in state)


class _Widths:
    """The lengths of tensors' axes, which must exist."""

    def __init__(self, context: ReadContext, state: StoredTensors) -> None:
        self._context, self._state = context, state

    def __call__(self, name: str, axis: int = 0) -> int:
        tensor = self._state.get(name)
        if tensor is None or len(tensor.shape) <= axis:
            raise self._context.error(f"no tensor {name!r} of a usable shape", expected="a complete encoder")
        return tensor.shape[axis]


def encoder_shapes(context: ReadContext, state: StoredTensors, heads: Heads) -> dict[str, Shape]:
    """Derive every name and shape of an encoder, whose stem has canonical names.

    Raises:
        CheckpointError: a tensor from which a width is read is missing.
    """
    width = _Widths(context, state)
    stem, trunk = width("input_layer.0.weight"), trunk_of(state)
    units = STAGE_UNITS[trunk]
    last = "res_layer.3.weight" if trunk == "irse50" else "conv2.weight"
    stages = [width(f"body.{first}.{last}") for first in (0, *accumulate(units[:-1]))]
    taps = 3 if trunk == "irse50" else 7
    shapes: dict[str, Shape] = {
        "input_layer.0.weight": (stem, width("input_layer.0.weight", 1), taps, taps),
        "input_layer.2.weight": (stem,),
    }
    shapes |= _batch_norm("input_layer.1", stem)
    outputs = [stage for stage, count in zip(stages, units, strict=True) for _ in range(count)]
    for unit, (before, after) in enumerate(zip([stem, *outputs], outputs, strict=False)):
        name = f"body.{unit}"
        if trunk == "irse50":
            shapes |= _bottleneck(name, before, after, width(f"{name}.res_layer.5.fc1.weight"))
        else:
            shapes |= _basic_block(name, before, after)
    return shapes | _code_shapes(width, state, stages, heads)


def _code_shapes(width: _Widths, state: StoredTensors, stages: list[int], heads: Heads) -> dict[str, Shape]:
    _, second, third, fourth = stages
    if heads == "one":
        return _linear("linear", fourth, width("linear.weight"))
    if heads == "all":
        w_dim = width("linear.weight", 1)
        shapes = _batch_norm("output_layer_2.0", fourth) | _linear("output_layer_2.3", fourth * POOLED**2, w_dim)
        return shapes | _linear("linear", w_dim, width("linear.weight") // w_dim * w_dim)
    w_dim = width("styles.0.linear.weight")
    shapes = {}
    for head in range(count_heads(state)):
        # Coarse heads take 16 x 16 maps, middle ones 32 x 32, fine ones 64 x 64; each convolution halves the side.
        convolutions = 4 if heads == "last" or head < 3 else 5 if head < 7 else 6
        shapes |= _head_shapes(head, fourth, w_dim, convolutions)
    if heads == "pyramid":
        for name, inputs in (("latlayer1", third), ("latlayer2", second)):
            shapes |= {f"{name}.weight": (fourth, inputs, 1, 1), f"{name}.bias": (fourth,)}
    return shapes


def _batch_norm(name: str, channels: int) -> dict[str, Shape]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _bottleneck(name: str, inputs: int, outputs: int, squeezed: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        f"{name}.res_layer.1.weight": (outputs, inputs, 3, 3),
        f"{name}.res_layer.2.weight": (outputs,),
        f"{name}.res_layer.3.weight": (outputs, outputs, 3, 3),
        f"{name}.res_layer.5.fc1.weight": (squeezed, outputs, 1, 1),
        f"{name}.res_layer.5.fc2.weight": (outputs, squeezed, 1, 1),
    }
    shapes |= _batch_norm(f"{name}.res_layer.0", inputs) | _batch_norm(f"{name}.res_layer.4", outputs)
    return shapes | _shortcut(f"{name}.shortcut_layer", inputs, outputs)


def _basic_block(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        f"{name}.conv1.weight": (outputs, inputs, 3, 3),
        f"{name}.conv2.weight": (outputs, outputs, 3, 3),
    }
    shapes |= _batch_norm(f"{name}.bn1", outputs) | _batch_norm(f"{name}.bn2", outputs)
    return shapes | _shortcut(f"{name}.downsample", inputs, outputs)


def _shortcut(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    if inputs == outputs:
        return {}
    return {f"{name}.0.weight": (outputs, inputs, 1, 1)} | _batch_norm(f"{name}.1", outputs)


def _head_shapes(head: int, inputs: int, w_dim: int, convolutions: int) -> dict[str, Shape]:
    shapes = _linear(f"styles.{head}.linear", w_dim, w_dim)
    for i in range(convolutions):
        name = f"styles.{head}.convs.{2 * i}"
        shapes |= {f"{name}.weight": (w_dim, w_dim if i else inputs, 3, 3), f"{name}.bias": (w_dim,)}
    return shapes
