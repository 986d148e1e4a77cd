"""NVIDIA's stylegan2-ada-pytorch, and the StyleGAN2 of its stylegan3 repository: pickled modules in ``G_ema``.

The pickle embeds the source of every module; it is data here. Sizes and options are read from the modules' attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.layout import (
    NO_NOISE,
    RESAVE_GENERATOR,
    Layer,
    check_fir,
    checked_clamp,
    checked_resolution,
    count_matching,
    layers_of,
    part_of,
    refuse_others,
    taken,
    without_axes,
    zero_noise,
)
from export.checkpoints.stand_ins import NvObject
from export.checkpoints.stored import Reading, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights


@dataclass
class _Modules:
    """A flattened module tree: tensors by their dotted names, attributes by their module's."""

    tensors: StoredTensors
    attributes: dict[str, dict[str, Any]]

    def every(self, attribute: str, default: object = None) -> dict[str, object]:
        """``attribute`` of each module that has it and is not at its default."""
        return {
            module: state[attribute]
            for module, state in self.attributes.items()
            if attribute in state and state[attribute] != default
        }


def generator_of(content: object) -> NvObject | None:
    """The generator of a checkpoint of this kind; None for a file of another kind."""
    if isinstance(content, dict):
        content = content.get("G_ema")
    return content if isinstance(content, NvObject) else None


def generator_from_nvlabs(checkpoint: Checkpoint, generator: NvObject) -> GeneratorWeights:
    """Read ``G_ema``.

    Raises:
        CheckpointError: it is conditional, a StyleGAN3, of another architecture than 'skip', or damaged.
    """
    reading = checkpoint.reading
    modules = _flattened(reading, generator)
    _check_architecture(reading, modules)
    blocks = _blocks(modules)
    resolution = checked_resolution(reading, max(blocks, default=0))
    filters = {name for name in modules.tensors if name.endswith("resample_filter")}
    for name in sorted(filters):
        check_fir(reading, name, modules.tensors[name], gain=1)
    names = _official_names(resolution, count_matching(modules.attributes, r"mapping\.fc\d{1,3}"))
    silent = [layer for layer in layers_of(resolution) if _is_silent(modules, layer)]
    absent = {name for layer in silent for name in layer.noise_names}
    absent |= {"mapping.w_avg"} - modules.tensors.keys()
    names = {name: theirs for name, theirs in names.items() if name not in absent}
    refuse_others(reading, modules.tensors, {*names.values(), *filters})
    tensors = {
        name: _canonical(reading, name, taken(reading, modules.tensors, theirs).array())
        for name, theirs in names.items()
    } | zero_noise(silent)
    check_generator(reading, tensors)
    return GeneratorWeights(
        tensors,
        checkpoint.source("NVlabs"),
        conv_clamp=_conv_clamp(reading, modules),
        fp16_from=min((r for r, block in blocks.items() if block.get("use_fp16") is True), default=None),
        notes=(NO_NOISE,) if silent else (),
    )


def _flattened(reading: Reading, root: NvObject) -> _Modules:
    flat = _Modules({}, {})
    pending: list[tuple[str, object]] = [("", root)]
    seen: set[int] = set()
    while pending:
        prefix, module = pending.pop()
        # A module that contains itself, or many times another, would never end.
        if not isinstance(module, NvObject) or id(module) in seen:
            raise reading.error(f"an odd module {clipped(prefix)}", expected="a tree of NVIDIA's modules")
        seen.add(id(module))
        flat.attributes[prefix.removesuffix(".")] = module.state
        for group in ("_parameters", "_buffers"):
            tensors = _entries(reading, module, group).items()
            flat.tensors |= {prefix + name: t for name, t in tensors if isinstance(t, StoredTensor)}
        pending += [(f"{prefix}{name}.", child) for name, child in _entries(reading, module, "_modules").items()]
    return flat


def _entries(reading: Reading, module: NvObject, group: str) -> dict[str, object]:
    entries = module.state.get(group, {})
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise reading.error(f"a module without {group}", expected="NVIDIA's modules")
    return entries


def _check_architecture(reading: Reading, modules: _Modules) -> None:
    other = _other_architecture(modules)
    if other:
        raise reading.error(
            other, expected="an unconditional StyleGAN2 generator of the 'skip' architecture", remedy=RESAVE_GENERATOR
        )


def _other_architecture(modules: _Modules) -> str | None:
    architectures = modules.every("architecture", "skip")
    if "synthesis.input" in modules.attributes:
        return "a StyleGAN3 generator"
    if architectures:
        return f"the architecture {clipped(next(iter(architectures.values())))}"
    if any(name.endswith(".skip") for name in modules.attributes):
        return "the architecture 'resnet'"
    if "mapping.embed" in modules.attributes or modules.every("c_dim", 0):
        return "a conditional generator, which takes class labels"
    if any(name.startswith("mapping.fc") for name in modules.every("bias_gain", 0.01)):
        return "a mapping network with another learning-rate multiplier than 0.01"
    return None


def _blocks(modules: _Modules) -> dict[int, dict[str, Any]]:
    """Attributes of the synthesis blocks by their resolution."""
    found = ((re.fullmatch(r"synthesis\.b(\d{1,5})", name), state) for name, state in modules.attributes.items())
    return {int(match[1]): state for match, state in found if match}


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


def _canonical(reading: Reading, name: str, array: Array) -> Array:
    return without_axes(reading, name, array, (0, 2) if part_of(name) == "rgb.weight" else (0, 0))


def _is_silent(modules: _Modules, layer: Layer) -> bool:
    return layer.kind != "rgb" and modules.attributes.get(_module(layer), {}).get("use_noise") is False


def _conv_clamp(reading: Reading, modules: _Modules) -> float | None:
    states = modules.attributes.values()
    clamps = {checked_clamp(reading, state["conv_clamp"]) for state in states if "conv_clamp" in state}
    if len(clamps) > 1:
        raise reading.error(
            "layers with different conv_clamp", expected="one clamp for the whole generator", remedy=RESAVE_GENERATOR
        )
    return next(iter(clamps), None)
