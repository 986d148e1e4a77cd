"""Reader of StyleGAN1: NVIDIA's TensorFlow pickle, and PyTorch state dicts of genforce and of its older InterFaceGAN.

The state dicts are conversions of the TensorFlow weights, with other names and another order of axes. Only toRGB of the
highest resolution is used; those of the others served progressive growing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from export.checkpoints.checkpoint import Checkpoint, state_dict, tensors_of
from export.checkpoints.layout import (
    RESAVE_GENERATOR,
    check_no_other_tensors,
    checked_resolution,
    count_matching,
    local_name,
    require_tensor,
    strip_unit_axes,
)
from export.checkpoints.stored_tensors import ReadContext, StoredTensors, clipped
from export.checkpoints.stylegan1_layout import LayerLayout, styled_layers
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

FUSED_FROM = 128
"""The lowest resolution whose upsampling convolution is a transposed one, if fused_scale is 'auto', the default."""

_BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16

_OPTIONS: Mapping[str, tuple[object, ...]] = {
    "nonlinearity": ("lrelu",),
    "mapping_nonlinearity": ("lrelu",),
    "mapping_lrmul": (0.01,),
    "normalize_latents": (True,),
    "use_styles": (True,),
    "const_input_layer": (True,),
    "use_noise": (True,),
    "use_wscale": (True,),
    "use_pixel_norm": (False,),
    "use_instance_norm": (True,),
    "blur_filter": ([1, 2, 1], (1, 2, 1)),
    "fused_scale": ("auto", True, False),
}
"""The options that change the official formula, each with its supported values, the default first."""

_GENFORCE_NAMES = {
    r"mapping\.dense(\d+)\.linear\.weight": r"mapping.dense\1.weight",
    r"mapping\.dense(\d+)\.wscale\.bias": r"mapping.dense\1.bias",
    r"synthesis\.layer0\.first_layer": r"synthesis.layer0.const",
    r"synthesis\.(layer\d+|output\d+)\.conv\.weight": r"synthesis.\1.weight",
    r"synthesis\.(layer\d+)\.epilogue\.style_mod\.dense\.(?:linear|wscale)\.(\w+)": r"synthesis.\1.style.\2",
    r"synthesis\.(layer\d+)\.epilogue\.(bias|apply_noise\.\w+)": r"synthesis.\1.\2",
}
"""genforce's names for those of InterFaceGAN."""

_TENSORFLOW_PARTS = {
    "affine.weight": "StyleMod/weight",
    "affine.bias": "StyleMod/bias",
    "noise_strength": "Noise/weight",
}
_GENFORCE_PARTS = {
    "affine.weight": "style.weight",
    "affine.bias": "style.bias",
    "noise_strength": "apply_noise.weight",
    "noise": "apply_noise.noise",
}
"""The formats' names of a layer's parts, where they are others than those of ``export.weights``."""

_AXES = {"const": (1, 0), "up.noise": (2, 0), "conv.noise": (2, 0), "rgb.weight": (0, 2)}
"""The numbers of leading and trailing axes of length 1 that all formats add to the canonical shapes."""


@dataclass(frozen=True)
class _Format:
    """What a format does in its own way.

    Attributes:
        layout: the name for ``Source``.
        names: the format's name of each canonical tensor.
        unused: further tensors that the format has, as regular expressions.
        fused_from: the lowest resolution whose upsampling convolution is a transposed one.
        channels_last: which convolutions have the axes [k, k, I, O]; where all have, matrices are transposed, too.
    """

    layout: str
    names: Mapping[str, str]
    unused: Iterable[str]
    fused_from: int = FUSED_FROM
    channels_last: Literal["all", "fused", "none"] = "none"


def is_tensorflow(variables: Mapping[str, object]) -> bool:
    """Return whether the variables of a TensorFlow network are those of StyleGAN1."""
    return any("/StyleMod/" in name for name in variables)


def state_of(content: object) -> tuple[str, object] | None:
    """Return the key and state dict of a StyleGAN1 generator in genforce's or InterFaceGAN's layout, or None."""
    keys = [key for key in ("generator_smooth", "generator") if isinstance(content, dict) and key in content]
    parts = [*((key, cast(dict[str, object], content)[key]) for key in keys), ("", content)]
    marks = {"synthesis.layer0.const", "synthesis.layer0.first_layer", "synthesis.layer0.style.weight"}
    return next(((key, part) for key, part in parts if marks & state_dict(part).keys()), None)


def generator_from_tensorflow(
    checkpoint: Checkpoint, variables: StoredTensors, options: Mapping[str, object]
) -> GeneratorWeights:
    """Read the variables of Gs.

    Args:
        checkpoint: the opened file.
        variables: by name; a component's are prefixed with its name and a slash.
        options: those of training, as the file records them.

    Raises:
        CheckpointError: the generator is conditional, of another formula, unfinished, or damaged.
    """
    context = checkpoint.context
    _check_options(context, variables, options)
    resolution = _resolution(context, count_matching(variables, r"synthesis/noise\d{1,3}"))
    fused_scale = options.get("fused_scale", "auto")
    used = _Format(
        "TensorFlow",
        _names(
            resolution,
            count_matching(variables, r"mapping/Dense\d{1,3}/weight"),
            _tensorflow_name,
            {
                "w_avg": "dlatent_avg",
                "dense": "mapping/Dense{}/",
                "const": "synthesis/4x4/Const/const",
                "rgb": "synthesis/ToRGB_lod0/",
            },
        ),
        [r"synthesis/ToRGB_lod\d{1,3}/(weight|bias)", r"(synthesis/)?lod"],
        FUSED_FROM if fused_scale == "auto" else 4 if fused_scale else 2 * resolution,
        "all",
    )
    return _generator(checkpoint, variables, used)


def generator_from_genforce(checkpoint: Checkpoint, key: str, content: object) -> GeneratorWeights:
    """Read a state dict of genforce or InterFaceGAN, which lies in the file under ``key``.

    Raises:
        CheckpointError: the generator is conditional, unfinished, or damaged.
    """
    context = checkpoint.context
    stored = tensors_of(context, content, "a StyleGAN1 generator")
    older = "synthesis.layer0.first_layer" in stored
    state = {_genforce_name(name): tensor for name, tensor in stored.items()} if older else stored
    _check_unconditional(context, state)
    resolution = _resolution(context, count_matching(state, r"synthesis\.layer\d{1,3}\.style\.weight"))
    _check_filters(context, state)
    used = _Format(
        "InterFaceGAN" if older else "genforce",
        _names(
            resolution,
            count_matching(state, r"mapping\.dense\d{1,3}\.weight"),
            _genforce_layer_name,
            {
                "w_avg": "truncation.w_avg",
                "dense": "mapping.dense{}.",
                "const": "synthesis.layer0.const",
                "rgb": f"synthesis.output{resolution.bit_length() - 3}.",
            },
        ),
        [
            r"synthesis\.output\d{1,3}\.(weight|bias)",
            r"synthesis\.layer\d{1,3}\.blur\.kernel",
            r"synthesis\.lod",
            r"truncation\.truncation",
        ],
        channels_last="fused" if older else "none",
    )
    notes = ("the weights of 'generator', which are not the running average",) if key == "generator" else ()
    return _generator(checkpoint, state, used, notes)


def _generator(
    checkpoint: Checkpoint, tensors: StoredTensors, used: _Format, notes: tuple[str, ...] = ()
) -> GeneratorWeights:
    context = checkpoint.context
    unused = {name for name in tensors if any(re.fullmatch(pattern, name) for pattern in used.unused)}
    check_no_other_tensors(context, tensors, {*used.names.values()} | unused, "StyleGAN1")
    _check_grown(context, tensors)
    arrays = {
        name: _canonical(context, name, require_tensor(context, tensors, official, "StyleGAN1").array(), used)
        for name, official in used.names.items()
        if name != "mapping.w_avg" or official in tensors
    }
    check_generator(context, arrays)
    return GeneratorWeights(arrays, checkpoint.source(f"{used.layout} StyleGAN1"), notes=notes)


def _genforce_name(name: str) -> str:
    for pattern, replacement in _GENFORCE_NAMES.items():
        if (match := re.fullmatch(pattern, name)) is not None:
            return match.expand(replacement)
    return name


def _resolution(context: ReadContext, layers: int) -> int:
    """Return the resolution of a network with two layers for each power of two from 4 on."""
    return checked_resolution(context, 2 << min(layers // 2, 32))


def _check_options(context: ReadContext, variables: StoredTensors, options: Mapping[str, object]) -> None:
    for option, supported in _OPTIONS.items():
        if options.get(option, supported[0]) not in supported:
            value = options[option]
            raise context.error(
                f"the option {option} = {[*map(clipped, value[:8])] if isinstance(value, list) else clipped(value)}",
                expected=f"StyleGAN1's {supported[0]}",
                remedy=RESAVE_GENERATOR,
            )
    _check_unconditional(context, variables)


def _check_unconditional(context: ReadContext, tensors: StoredTensors) -> None:
    if any(name.endswith(("LabelConcat/weight", "label_weight")) for name in tensors):
        raise context.error(
            "a conditional StyleGAN1 generator, whose labels are normalised together with z, so that no class of it "
            "can be folded into the mapping network",
            expected="an unconditional one",
            remedy=RESAVE_GENERATOR,
        )


def _check_filters(context: ReadContext, state: StoredTensors) -> None:
    for name in sorted(name for name in state if name.endswith(".blur.kernel")):
        blur = state[name].array()
        if blur.shape[1:] != (1, 3, 3) or not np.allclose(blur, _BLUR, rtol=0, atol=1e-6):
            raise context.error(f"a filter {clipped(name)} other than [1, 2, 1]", expected="StyleGAN1's filter")


def _check_grown(context: ReadContext, tensors: StoredTensors) -> None:
    """Raise CheckpointError if the last resolutions have not grown in: then toRGB of a lower one gives the picture."""
    for name in ("lod", "synthesis/lod", "synthesis.lod"):
        level = float(tensors[name].array().max()) if name in tensors else 0.0
        if level != 0:
            raise context.error(
                f"a generator in the middle of progressive growing, with a level of detail of {level:g}",
                expected="0, when all resolutions are grown",
                remedy="give a later snapshot of the training",
            )


def _names(
    resolution: int, depth: int, layer_name: Callable[[LayerLayout, str], str], others: Mapping[str, str]
) -> dict[str, str]:
    """Return a format's names by the canonical ones; ``others`` are prefixes or names outside the layers."""
    names = {"mapping.w_avg": others["w_avg"], "synthesis.4.const": others["const"]}
    for part in ("weight", "bias"):
        names |= {f"mapping.{i}.{part}": f"{others['dense'].format(i)}{part}" for i in range(depth)}
        names[f"synthesis.{resolution}.rgb.{part}"] = f"{others['rgb']}{part}"
    for layer in styled_layers(resolution):
        names |= {f"{layer.name}.{part}": layer_name(layer, part) for part in layer.parts}
    return names


def _tensorflow_name(layer: LayerLayout, part: str) -> str:
    if part == "noise":
        return f"synthesis/noise{layer.index}"
    lowest, r = layer.resolution == 4, layer.resolution
    module = {"up": "Const" if lowest else "Conv0_up", "conv": "Conv" if lowest else "Conv1"}[layer.kind]
    return f"synthesis/{r}x{r}/{module}/{_TENSORFLOW_PARTS.get(part, part)}"


def _genforce_layer_name(layer: LayerLayout, part: str) -> str:
    return f"synthesis.layer{layer.index}.{_GENFORCE_PARTS.get(part, part)}"


def _canonical(context: ReadContext, name: str, array: Array, used: _Format) -> Array:
    """Return an array of the file in the canonical form of ``export.weights``."""
    upsampling = name.endswith(".up.weight") and array.ndim == 4
    fused = upsampling and int(name.split(".")[1]) >= used.fused_from
    if (
        array.ndim == 4
        and name.endswith(".weight")
        and (used.channels_last == "all" or (fused and used.channels_last == "fused"))
    ):
        array = array.transpose(3, 2, 0, 1)
    if array.ndim == 2 and used.channels_last == "all":
        array = array.T
    if fused:
        # A transposed convolution flips the kernel.
        array = array[:, :, ::-1, ::-1]
    array = np.array(strip_unit_axes(context, name, array, _AXES.get(local_name(name), (0, 0))), order="C")
    if name.endswith(".affine.bias") and array.ndim:
        # The official code adds the 1 to the scales at run time.
        array[: len(array) // 2] += 1
    if name.startswith("mapping.") and name.endswith(".bias"):
        array /= np.float32(np.sqrt(2))
    return array
