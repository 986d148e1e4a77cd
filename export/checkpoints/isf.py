"""Reader of ISF heads: ``{"mapnet": state dict of MappingNetwork, "discriminator": ...}``."""

from __future__ import annotations

from engines.contract.tensors import ISF_ATTRIBUTES
from export.checkpoints.checkpoint import Checkpoint, state_dict, tensors_of
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors
from export.checkpoints.validation import Shape, check_finite, check_shapes
from export.weights import IsfWeights

PUBLISHED_NOISE_SIZE = 64

_Z_NET = "w_net.z_net"


def is_isf(content: object) -> bool:
    """Return whether ``content`` is an ISF checkpoint."""
    state = state_dict(content)
    return "mapnet" in state or any(name.startswith("w_net.") for name in state)


def isf_from_mapnet(
    checkpoint: Checkpoint, attributes: tuple[str, ...] | None = None, *, residual: bool = False
) -> IsfWeights:
    """Read an ISF head.

    Args:
        checkpoint: the opened file.
        attributes: names in the order of training; None means the published four, if the head has four attributes.
        residual: whether the head was trained with ``use_residual``, which the file does not record.

    Raises:
        CheckpointError: the file holds no complete head, or the names of its attributes are unknown.
    """
    context, content = checkpoint.context, checkpoint.content
    mapnet = content.get("mapnet", content) if isinstance(content, dict) else content
    state = tensors_of(context, mapnet, "an ISF head")
    check_shapes(context, state, _expected_shapes(context, state), "ISF head")
    inputs = state[f"{_Z_NET}.shared.0.weight"].shape[1]
    names = _attributes(context, inputs, _count_in_discriminator(content), attributes)
    tensors = {name: tensor.array() for name, tensor in state.items()}
    check_finite(context, tensors)
    return IsfWeights(tensors, checkpoint.source("ISF"), names, residual)


def _count_in_discriminator(content: object) -> int | None:
    discriminator = content.get("discriminator") if isinstance(content, dict) else None
    classifier = state_dict(discriminator).get("out_cls.3.weight")
    return classifier.shape[0] if isinstance(classifier, StoredTensor) and classifier.shape else None


def _attributes(context: ReadContext, inputs: int, count: int | None, names: tuple[str, ...] | None) -> tuple[str, ...]:
    published = len(ISF_ATTRIBUTES)
    if names is None and (count == published or (count is None and inputs == PUBLISHED_NOISE_SIZE + published)):
        names = ISF_ATTRIBUTES
    if names is None:
        raise context.error(
            f"an ISF head for {count or 'an unknown number of'} attributes whose names no checkpoint records",
            expected="names for its attributes",
            remedy="give --attributes with their names in the order of training",
        )
    if len(set(names)) != len(names) or (count or len(names)) != len(names) or not 0 < len(names) < inputs:
        raise context.error(
            f"the attributes {', '.join(names)}",
            expected=f"{count} different names" if count else f"from 1 to {inputs - 1} different names",
            remedy="give --attributes with one name for each attribute that the head was trained for",
        )
    return names


def _expected_shapes(context: ReadContext, state: StoredTensors) -> dict[str, Shape]:
    first = state.get(f"{_Z_NET}.shared.0.weight")
    last = state.get("w_net.fc.0.weight")
    if first is None or last is None or len(first.shape) != 2:
        raise context.error(
            "no MappingNetwork of ISF-GAN", expected="an ISF head", remedy="give its nets_ema checkpoint"
        )
    w_dim, inputs = first.shape
    pre_norm = len(last.shape) == 1
    heads = {name.split(".")[3] for name in state if name.startswith(f"{_Z_NET}.unshared.")}
    shapes = _linear(f"{_Z_NET}.shared.0", inputs, w_dim)
    for norm, linear in ((2, 3), (5, 6), (8, 9)) if pre_norm else ((4, 2), (7, 5), (10, 8)):
        shapes |= _layer_norm(f"{_Z_NET}.shared.{norm}", w_dim) | _linear(f"{_Z_NET}.shared.{linear}", w_dim, w_dim)
    for head in range(len(heads)):
        for i in (0, 2, 4):
            shapes |= _linear(f"{_Z_NET}.unshared.{head}.{i}", w_dim, w_dim)
    for norm in (0, 3, 6) if pre_norm else (2, 5):
        shapes |= _layer_norm(f"w_net.fc.{norm}", w_dim)
    for linear in (1, 4, 7) if pre_norm else (0, 3, 6):
        shapes |= _linear(f"w_net.fc.{linear}", w_dim, w_dim)
    if "w_net.adain.fc.weight" in state:
        shapes |= _linear("w_net.adain.fc", w_dim, 2 * w_dim)
    if "w_net.adain.norm.weight" in state:
        shapes |= _layer_norm("w_net.adain.norm", w_dim)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _layer_norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
