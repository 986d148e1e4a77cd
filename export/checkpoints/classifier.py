"""Reader of the classifier of attributes in an ISF checkpoint: ``{"discriminator": state dict, "mapnet": ...}``."""

from __future__ import annotations

from itertools import pairwise
from math import log2

from engines.contract.tensors import FACE_SIZE, ISF_ATTRIBUTES
from export.checkpoints.checkpoint import Checkpoint, tensors_of
from export.checkpoints.stored_tensors import ReadContext, StoredTensors
from export.checkpoints.validation import Shape, check_finite, check_shapes
from export.weights import ClassifierWeights

BLOCKS = int(log2(FACE_SIZE)) - 2
"""Residual blocks, each of which halves the side, from that of a face to 4."""


def classifier_from_discriminator(checkpoint: Checkpoint, names: tuple[str, ...] | None) -> ClassifierWeights:
    """Read the classifier.

    Args:
        checkpoint: the opened ISF checkpoint.
        names: the attributes' names in the order of training; None means the published four.

    Raises:
        CheckpointError: the file holds no discriminator for pictures of 256x256, or a number of attributes whose names
            are unknown.
    """
    context, content = checkpoint.context, checkpoint.content
    discriminator = content.get("discriminator") if isinstance(content, dict) else None
    if discriminator is None:
        raise context.error(
            "an ISF checkpoint without its discriminator",
            expected="one with the discriminator of its training, which can tell attributes",
            remedy="give the nets_ema checkpoint as training wrote it, or do without a classifier",
        )
    state = tensors_of(context, discriminator, "a discriminator")
    # The other branch judges whether a picture is real.
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("out_src.")}
    check_shapes(context, kept, _expected_shapes(context, kept), "discriminator of ISF-GAN for 256x256 pictures")
    attributes = _named(context, kept["out_cls.3.weight"].shape[0], names)
    tensors = {name: tensor.array() for name, tensor in kept.items()}
    check_finite(context, tensors)
    return ClassifierWeights(tensors, checkpoint.source("ISF"), attributes)


def _named(context: ReadContext, count: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    chosen = ISF_ATTRIBUTES if names is None else names
    if len(chosen) != count or len({*chosen}) != count:
        raise context.error(
            f"a classifier of {count} attributes and the names {', '.join(chosen)}",
            expected=f"{count} different names",
            remedy="give --attributes with their names in the order of training",
        )
    return chosen


def _expected_shapes(context: ReadContext, state: StoredTensors) -> dict[str, Shape]:
    def width(name: str) -> int:
        if name not in state or not state[name].shape:
            raise context.error(f"no tensor {name!r}", expected="the discriminator of ISF-GAN for 256x256 pictures")
        return state[name].shape[0]

    widths = [width(f"main.{i}{'.conv2' * (i > 0)}.bias") for i in range(BLOCKS + 1)]
    hidden, attributes = width("out_cls.1.bias"), width("out_cls.3.bias")
    shapes = _convolution("main.0", 3, widths[0], 3)
    for block, (inputs, outputs) in enumerate(pairwise(widths), 1):
        shapes |= _convolution(f"main.{block}.conv1", inputs, inputs, 3)
        shapes |= _convolution(f"main.{block}.conv2", inputs, outputs, 3)
        if inputs != outputs:
            shapes[f"main.{block}.conv1x1.weight"] = (outputs, inputs, 1, 1)
    return shapes | _convolution("out_cls.1", widths[-1], hidden, 4) | _convolution("out_cls.3", hidden, attributes, 1)


def _convolution(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}
