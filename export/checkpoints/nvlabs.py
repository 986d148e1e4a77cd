"""Reader of NVIDIA's stylegan2-ada-pytorch, and of StyleGAN2 in its stylegan3 repository: modules pickled in ``G_ema``.

The pickle embeds the source code of every module, which is never run. Sizes and options are read from the modules'
attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.labels import folded_label
from export.checkpoints.layout import (
    NO_NOISE,
    RESAVE_GENERATOR,
    Layer,
    check_fir,
    check_no_other_tensors,
    checked_clamp,
    checked_resolution,
    count_matching,
    layers_of,
    local_name,
    require_tensor,
    strip_unit_axes,
    zero_noise,
)
from export.checkpoints.stand_ins import NvObject
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

_EMBEDDING = ("mapping.embed.weight", "mapping.embed.bias")
"""The embedding of labels in a conditional generator."""


@dataclass
class _Modules:
    """A flattened module tree: tensors by dotted name, and attributes by the dotted name of their module."""

    tensors: StoredTensors
    attributes: dict[str, dict[str, Any]]

    def every(self, attribute: str, default: object = None) -> dict[str, object]:
        """Return ``attribute`` by module, for the modules that have it with another value than ``default``."""
        return {
            module: state[attribute]
            for module, state in self.attributes.items()
            if attribute in state and state[attribute] != default
        }


def generator_of(content: object) -> NvObject | None:
    """Return the generator of an NVIDIA checkpoint; None if ``content`` is of another kind."""
    if isinstance(content, dict):
        content = content.get("G_ema")
    return content if isinstance(content, NvObject) else None


def generator_from_nvlabs(checkpoint: Checkpoint, generator: NvObject, label: int | None = None) -> GeneratorWeights:
    """Read ``G_ema``; ``label`` is the class of a conditional generator, see ``labels.py``.

    Raises:
        CheckpointError: a conditional generator is given without its class, or the generator is a StyleGAN3, not of the
            'skip' architecture, or damaged.
    """
    context = checkpoint.context
    modules = _flattened(context, generator)
    _check_architecture(context, modules)
    blocks = _blocks(modules)
    resolution = checked_resolution(context, max(blocks, default=0))
    filters = {name for name in modules.tensors if name.endswith("resample_filter")}
    for name in sorted(filters):
        check_fir(context, name, modules.tensors[name], gain=1)
    names = _official_names(resolution, count_matching(modules.attributes, r"mapping\.fc\d{1,3}"))
    noiseless = [layer for layer in layers_of(resolution) if _is_noiseless(modules, layer)]
    absent = {name for layer in noiseless for name in layer.noise_names}
    absent |= {"mapping.w_avg"} - modules.tensors.keys()
    names = {name: official for name, official in names.items() if name not in absent}
    check_no_other_tensors(context, modules.tensors, {*names.values(), *filters, *_EMBEDDING})
    tensors = {
        name: _canonical(context, name, require_tensor(context, modules.tensors, official).array())
        for name, official in names.items()
    } | zero_noise(noiseless)
    first_layer, notes = folded_label(context, tensors, _embedding(context, modules), label)
    tensors |= first_layer
    check_generator(context, tensors)
    return GeneratorWeights(
        tensors,
        checkpoint.source("NVlabs"),
        conv_clamp=_conv_clamp(context, modules),
        fp16_from=min((r for r, block in blocks.items() if block.get("use_fp16") is True), default=None),
        notes=((NO_NOISE,) if noiseless else ()) + notes,
    )


def _flattened(context: ReadContext, root: NvObject) -> _Modules:
    flat = _Modules({}, {})
    pending: list[tuple[str, object]] = [("", root)]
    seen: set[int] = set()
    while pending:
        prefix, module = pending.pop()
        # Flattening a module that contains itself would never end.
        if not isinstance(module, NvObject) or id(module) in seen:
            raise context.error(f"an unexpected module {clipped(prefix)}", expected="a tree of NVIDIA's modules")
        seen.add(id(module))
        flat.attributes[prefix.removesuffix(".")] = module.state
        for group in ("_parameters", "_buffers"):
            tensors = _tensors(context, module, group, prefix)
            flat.tensors |= {context.joined(prefix, name): tensor for name, tensor in tensors}
        children = _entries(context, module, "_modules").items()
        pending += [(context.joined(prefix, f"{name}."), child) for name, child in children]
    return flat


def _tensors(context: ReadContext, module: NvObject, group: str, prefix: str) -> list[tuple[str, StoredTensor]]:
    entries = [(name, entry) for name, entry in _entries(context, module, group).items() if entry is not None]
    others = [name for name, entry in entries if not isinstance(entry, StoredTensor)]
    if others:
        raise context.error(
            f"no tensor but another value in {clipped(prefix + others[0])}", expected="NVIDIA's modules"
        )
    return [(name, entry) for name, entry in entries if isinstance(entry, StoredTensor)]


def _entries(context: ReadContext, module: NvObject, group: str) -> dict[str, object]:
    entries = module.state.get(group, {})
    if isinstance(entries, dict):
        context.spend_entries(len(entries))
        if all(isinstance(name, str) for name in entries):
            return entries
    raise context.error(f"a module without {group}", expected="NVIDIA's modules")


def _check_architecture(context: ReadContext, modules: _Modules) -> None:
    other = _other_architecture(modules)
    if other:
        raise context.error(other, expected="a StyleGAN2 generator of the 'skip' architecture", remedy=RESAVE_GENERATOR)


def _other_architecture(modules: _Modules) -> str | None:
    architectures = modules.every("architecture", "skip")
    if "synthesis.input" in modules.attributes:
        return "a StyleGAN3 generator"
    if architectures:
        return f"the architecture {clipped(next(iter(architectures.values())))}"
    if any(name.endswith(".skip") for name in modules.attributes):
        return "the architecture 'resnet'"
    if any(name.startswith("mapping.fc") for name in modules.every("bias_gain", 0.01)):
        return "a mapping network whose learning-rate multiplier is not 0.01"
    if activation := _other_activation(modules):
        return f"the activation {clipped(activation)}"
    return None


def _other_activation(modules: _Modules) -> object:
    """Return an activation that is not StyleGAN2's: linear in affine layers and the embedding, lrelu elsewhere."""
    others = (
        activation
        for module, activation in modules.every("activation").items()
        if activation != ("linear" if module.endswith((".affine", ".embed")) else "lrelu")
    )
    return next(others, None)


def _blocks(modules: _Modules) -> dict[int, dict[str, Any]]:
    """Return the attributes of each synthesis block, by resolution."""
    matches = ((re.fullmatch(r"synthesis\.b(\d{1,5})", name), state) for name, state in modules.attributes.items())
    return {int(match[1]): state for match, state in matches if match}


def _official_names(resolution: int, depth: int) -> dict[str, str]:
    names = {"mapping.w_avg": "mapping.w_avg", "synthesis.4.const": "synthesis.b4.const"}
    for i in range(depth):
        names |= {f"mapping.{i}.{part}": f"mapping.fc{i}.{part}" for part in ("weight", "bias")}
    for layer in layers_of(resolution):
        for part in layer.parts:
            names[f"{layer.name}.{part}"] = f"{_module(layer)}.{'noise_const' if part == 'noise' else part}"
    return names


def _module(layer: Layer) -> str:
    return f"synthesis.b{layer.resolution}.{ {'up': 'conv0', 'conv': 'conv1', 'rgb': 'torgb'}[layer.kind] }"


def _canonical(context: ReadContext, name: str, array: Array) -> Array:
    return strip_unit_axes(context, name, array, (0, 2) if local_name(name) == "rgb.weight" else (0, 0))


def _is_noiseless(modules: _Modules, layer: Layer) -> bool:
    return layer.kind != "rgb" and modules.attributes.get(_module(layer), {}).get("use_noise") is False


def _embedding(context: ReadContext, modules: _Modules) -> tuple[Array, Array] | None:
    """Return weight and bias of a conditional generator's embedding of labels."""
    if "mapping.embed" not in modules.attributes and not modules.every("c_dim", 0):
        return None
    weight, bias = (require_tensor(context, modules.tensors, name).array() for name in _EMBEDDING)
    return weight, bias


def _conv_clamp(context: ReadContext, modules: _Modules) -> float | None:
    states = modules.attributes.values()
    clamps = {checked_clamp(context, state["conv_clamp"]) for state in states if "conv_clamp" in state}
    if len(clamps) > 1:
        raise context.error(
            "layers with different conv_clamp", expected="one clamp for the whole generator", remedy=RESAVE_GENERATOR
        )
    return next(iter(clamps), None)
