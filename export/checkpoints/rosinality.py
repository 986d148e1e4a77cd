"""Reader of rosinality's stylegan2-pytorch, ``{"g_ema": state dict, "latent_avg": ...}``, and derived formats."""

from __future__ import annotations

import zlib

import numpy as np

from export.checkpoints.checkpoint import Checkpoint, strip_prefix, tensors_of
from export.checkpoints.layout import (
    SEEDED_NOISE,
    Layer,
    check_fir,
    check_no_other_tensors,
    checked_resolution,
    count_matching,
    layers_of,
    local_name,
    require_tensor,
    strip_unit_axes,
    w_avg_from,
)
from export.checkpoints.stored_tensors import ReadContext, StoredTensors, clipped
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

_PARTS = {
    "weight": "conv.weight",
    "bias": "activate.bias",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
}

_DISCRIMINATORS = ("discriminator.", "netD.", "D.", "d.")

_AXES = {
    "const": (1, 0),
    "up.weight": (1, 0),
    "conv.weight": (1, 0),
    "rgb.weight": (1, 2),
    "rgb.bias": (1, 2),
    "up.noise_strength": (1, 0),
    "conv.noise_strength": (1, 0),
    "up.noise": (2, 0),
    "conv.noise": (2, 0),
}
"""The numbers of leading and trailing axes of length 1 that this format adds to the canonical shapes."""


def generator_from_rosinality(checkpoint: Checkpoint) -> GeneratorWeights:
    """Read a training checkpoint, a converted checkpoint, or a bare state dict.

    Raises:
        CheckpointError: the file holds no StyleGAN2 generator in rosinality's names.
    """
    content, context = checkpoint.content, checkpoint.context
    key, state = "", content
    if isinstance(content, dict):
        keys = [k for k in ("g_ema", "params_ema", "g", "params", "generator", "state_dict") if k in content]
        key, state = (keys[0], content[keys[0]]) if keys else ("", content)
    notes = (f"the weights of {key!r}, which are not the running average",) if key in ("g", "params") else ()
    latent_avg = content.get("latent_avg") if isinstance(content, dict) and key else None
    tensors = _within(tensors_of(context, state, "a generator"))
    return generator_from_state(checkpoint, tensors, latent_avg, "rosinality", notes)


def _within(state: StoredTensors) -> StoredTensors:
    """Return the generator that is one part of a larger module, beside which there is at most a discriminator."""
    prefixes = [name.removesuffix("input.input") for name in state if name.endswith(".input.input")]
    others = tuple(prefixes) + _DISCRIMINATORS
    if len(prefixes) != 1 or not all(name.startswith(others) for name in state):
        return state
    return strip_prefix(state, prefixes[0])


def generator_from_state(
    checkpoint: Checkpoint, state: StoredTensors, latent_avg: object, layout: str, notes: tuple[str, ...] = ()
) -> GeneratorWeights:
    """Read a generator from a state dict in rosinality's names.

    Raises:
        CheckpointError: the state dict is that of another architecture, or damaged.
    """
    context = checkpoint.context
    _check_known(context, state)
    resolution = _resolution(context, state)
    names = official_names(resolution, count_matching(state, r"style\.\d{1,3}\.weight"))
    filters = filter_names(resolution)
    seeded = not any(name.startswith("noises.") for name in state)
    if seeded:
        names = {name: official for name, official in names.items() if not official.startswith("noises.")}
    check_no_other_tensors(context, state, {*names.values(), *filters})
    for filter_name in filters:
        check_fir(context, filter_name, require_tensor(context, state, filter_name), gain=4)
    tensors = {
        name: _canonical(context, name, require_tensor(context, state, official).array())
        for name, official in names.items()
    }
    if seeded:
        tensors |= seeded_noise(resolution)
        notes += (SEEDED_NOISE,)
    w_avg = w_avg_from(context, latent_avg)
    if w_avg is not None:
        tensors["mapping.w_avg"] = w_avg
    check_generator(context, tensors)
    return GeneratorWeights(tensors, checkpoint.source(layout), notes=notes)


def _check_known(context: ReadContext, state: StoredTensors) -> None:
    """Raise CheckpointError unless the generator's names begin here; a larger network is told from an unknown one."""
    if "input.input" in state:
        return
    prefix = next((name.removesuffix("input.input") for name in state if name.endswith(".input.input")), "")
    others = sorted(name for name in state if not name.startswith(prefix))
    if others:
        raise context.error(
            f"a larger network, of which {clipped(prefix[:-1])} is a generator and {clipped(others[0])} is not",
            expected="a StyleGAN2 generator, beside which there is at most its discriminator",
            remedy="save only the generator's state_dict()",
        )
    raise context.error(
        "tensors of an unknown network", expected="a StyleGAN2 generator", remedy="check which network the file holds"
    )


def _resolution(context: ReadContext, state: StoredTensors) -> int:
    return checked_resolution(context, 4 << min(count_matching(state, r"to_rgbs\.\d{1,3}\.bias"), 32))


def official_names(resolution: int, mapping_depth: int) -> dict[str, str]:
    """Map canonical names to rosinality's, for all tensors except the filters and w_avg."""
    names = {"synthesis.4.const": "input.input"}
    for i in range(mapping_depth):
        # Index 0 of rosinality's Sequential is the normalisation of z.
        names |= {f"mapping.{i}.{part}": f"style.{i + 1}.{part}" for part in ("weight", "bias")}
    for layer in layers_of(resolution):
        names |= {f"{layer.name}.{part}": _official_name(layer, part) for part in layer.parts}
    return names


def _official_name(layer: Layer, part: str) -> str:
    if part == "noise":
        return f"noises.noise_{layer.noise_index}"
    return f"{_module(layer)}.{'bias' if (layer.kind, part) == ('rgb', 'bias') else _PARTS[part]}"


def filter_names(resolution: int) -> list[str]:
    """Return the names of the buffers that hold the resampling filter times 4."""
    blocks = resolution.bit_length() - 3
    return [f"convs.{2 * i}.conv.blur.kernel" for i in range(blocks)] + [
        f"to_rgbs.{i}.upsample.kernel" for i in range(blocks)
    ]


def _module(layer: Layer) -> str:
    block = layer.resolution.bit_length() - 4
    if layer.kind == "rgb":
        return f"to_rgbs.{block}" if block >= 0 else "to_rgb1"
    return f"convs.{2 * block + (layer.kind == 'conv')}" if block >= 0 else "conv1"


def _canonical(context: ReadContext, name: str, array: Array) -> Array:
    return strip_unit_axes(context, name, array, _AXES.get(local_name(name), (0, 0)))


def official_array(name: str, array: Array) -> Array:
    """Return a canonical tensor in rosinality's shape."""
    lead, trail = _AXES.get(local_name(name), (0, 0))
    return array.reshape((1,) * lead + array.shape + (1,) * trail)


def seeded_noise(resolution: int) -> dict[str, Array]:
    """Return noise maps for files without any; they depend on nothing but the resolution."""
    maps: dict[str, Array] = {}
    for layer in layers_of(resolution):
        for name in layer.noise_names[1:]:
            # NumPy keeps RandomState's streams as they are; default_rng's may change between versions.
            state = np.random.RandomState(zlib.crc32(name.encode()))
            maps[name] = state.standard_normal((layer.resolution, layer.resolution)).astype(np.float32)
    return maps
