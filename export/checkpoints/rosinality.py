"""rosinality's stylegan2-pytorch: ``{"g_ema": state dict, "latent_avg": ...}`` and its many relatives."""

from __future__ import annotations

import zlib

import numpy as np

from export.checkpoints.checkpoint import Checkpoint, tensors_of
from export.checkpoints.layout import (
    RESAVE_GENERATOR,
    SEEDED_NOISE,
    Layer,
    average_latent,
    check_fir,
    checked_resolution,
    count_matching,
    layers_of,
    part_of,
    refuse_others,
    taken,
    without_axes,
)
from export.checkpoints.stored import Reading, StoredTensors
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

_PARTS = {
    "weight": "conv.weight",
    "bias": "activate.bias",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
}

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
"""Leading and trailing axes of length 1 that this layout has beyond the canonical one."""


def generator_from_rosinality(checkpoint: Checkpoint) -> GeneratorWeights:
    """Read a training checkpoint, a converted one, or a bare state dict.

    Raises:
        CheckpointError: the file holds no StyleGAN2 generator under these names.
    """
    content, reading = checkpoint.content, checkpoint.reading
    key, state = "", content
    if isinstance(content, dict):
        found = [k for k in ("g_ema", "params_ema", "g", "params", "generator", "state_dict") if k in content]
        key, state = (found[0], content[found[0]]) if found else ("", content)
    notes = (f"the weights of {key!r}, which are not the running average",) if key in ("g", "params") else ()
    latent_avg = content.get("latent_avg") if isinstance(content, dict) and key else None
    return generator_from_state(checkpoint, tensors_of(reading, state, "a generator"), latent_avg, "rosinality", notes)


def generator_from_state(
    checkpoint: Checkpoint, state: StoredTensors, latent_avg: object, layout: str, notes: tuple[str, ...] = ()
) -> GeneratorWeights:
    """The generator of a state dict in rosinality's names.

    Raises:
        CheckpointError: it is another architecture, or damaged.
    """
    reading = checkpoint.reading
    _refuse_relatives(reading, state)
    resolution = _resolution(reading, state)
    names = official_names(resolution, count_matching(state, r"style\.\d{1,3}\.weight"))
    kernels = kernel_names(resolution)
    seeded = not any(name.startswith("noises.") for name in state)
    if seeded:
        names = {name: official for name, official in names.items() if not official.startswith("noises.")}
    refuse_others(reading, state, {*names.values(), *kernels})
    for kernel in kernels:
        check_fir(reading, kernel, taken(reading, state, kernel), gain=4)
    tensors = {name: _canonical(reading, name, taken(reading, state, theirs).array()) for name, theirs in names.items()}
    if seeded:
        tensors |= seeded_noise(resolution)
        notes += (SEEDED_NOISE,)
    w_avg = average_latent(reading, latent_avg)
    if w_avg is not None:
        tensors["mapping.w_avg"] = w_avg
    check_generator(reading, tensors)
    return GeneratorWeights(tensors, checkpoint.source(layout), notes=notes)


def _refuse_relatives(reading: Reading, state: StoredTensors) -> None:
    relatives = {
        "style_conv1.bias": "a GFPGAN-clean generator, whose upsampling and noise are not StyleGAN2's",
        "stylegan_decoder.style_conv1.bias": "a GFPGAN-clean network, whose upsampling and noise are not StyleGAN2's",
        "style_conv1.activate.bias": "a generator in BasicSR's names",
        "style_mapping.1.linear.weight_orig": "a generator in mmgeneration's names",
        "synthesis.early_layer.const": "a generator in genforce's names",
        "generator.input.input": "a DualStyleGAN or VToonify network",
    }
    for name, what in relatives.items():
        if name in state:
            raise reading.error(what, expected="a StyleGAN2 generator in rosinality's names", remedy=RESAVE_GENERATOR)
    if "input.input" not in state:
        raise reading.error(
            "tensors of an unknown network",
            expected="a StyleGAN2 generator",
            remedy="check which network the file holds",
        )


def _resolution(reading: Reading, state: StoredTensors) -> int:
    return checked_resolution(reading, 4 << min(count_matching(state, r"to_rgbs\.\d{1,3}\.bias"), 32))


def official_names(resolution: int, mapping_depth: int) -> dict[str, str]:
    """Canonical name -> rosinality's, for all tensors but the filters and w_avg."""
    names = {"synthesis.4.const": "input.input"}
    for i in range(mapping_depth):
        # Index 0 of the Sequential is the normalisation of z.
        names |= {f"mapping.{i}.{part}": f"style.{i + 1}.{part}" for part in ("weight", "bias")}
    for layer in layers_of(resolution):
        names |= {f"{layer.name}.{part}": _official_name(layer, part) for part in layer.parts}
    return names


def _official_name(layer: Layer, part: str) -> str:
    if part == "noise":
        return f"noises.noise_{layer.noise_index}"
    return f"{_module(layer)}.{'bias' if (layer.kind, part) == ('rgb', 'bias') else _PARTS[part]}"


def kernel_names(resolution: int) -> list[str]:
    """The buffers that hold the resampling filter, times 4."""
    blocks = resolution.bit_length() - 3
    return [f"convs.{2 * i}.conv.blur.kernel" for i in range(blocks)] + [
        f"to_rgbs.{i}.upsample.kernel" for i in range(blocks)
    ]


def _module(layer: Layer) -> str:
    block = layer.resolution.bit_length() - 4
    if layer.kind == "rgb":
        return f"to_rgbs.{block}" if block >= 0 else "to_rgb1"
    return f"convs.{2 * block + (layer.kind == 'conv')}" if block >= 0 else "conv1"


def _canonical(reading: Reading, name: str, array: Array) -> Array:
    return without_axes(reading, name, array, _AXES.get(part_of(name), (0, 0)))


def official_array(name: str, array: Array) -> Array:
    """A canonical tensor in rosinality's shape."""
    lead, trail = _AXES.get(part_of(name), (0, 0))
    return array.reshape((1,) * lead + array.shape + (1,) * trail)


def seeded_noise(resolution: int) -> dict[str, Array]:
    """Noise maps for files that have none, the same in every run and for every generator of this size."""
    maps: dict[str, Array] = {}
    for layer in layers_of(resolution):
        for name in layer.noise_names[1:]:
            # RandomState's streams are frozen; those of default_rng may change between NumPy's versions.
            state = np.random.RandomState(zlib.crc32(name.encode()))
            maps[name] = state.standard_normal((layer.resolution, layer.resolution)).astype(np.float32)
    return maps
