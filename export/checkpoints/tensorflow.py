"""NVIDIA's TensorFlow pickles: ``(G, D, Gs)``, each a ``dnnlib.tflib.network.Network``; Gs is the running average."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.layout import (
    NO_NOISE,
    RESAVE_GENERATOR,
    Layer,
    checked_clamp,
    checked_resolution,
    count_matching,
    layers_of,
    refuse_others,
    taken,
    zero_noise,
)
from export.checkpoints.stand_ins import TfNetwork
from export.checkpoints.stored import Reading, StoredTensor, StoredTensors, clipped
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

_Change = Callable[[Array], Array]


def _same(x: Array) -> Array:
    return x


def _turned(x: Array) -> Array:
    """[k, k, I, O] -> [O, I, k, k]."""
    return x.transpose(3, 2, 0, 1)


def _turned_and_flipped(x: Array) -> Array:
    # TensorFlow's transposed convolution is a true convolution, PyTorch's is not.
    return _turned(x[::-1, ::-1])


def _turned_to_matrix(x: Array) -> Array:
    """[1, 1, I, O] -> [O, I]."""
    return _turned(x).reshape(x.shape[3], -1)


_PARTS: dict[str, tuple[str, _Change]] = {
    "bias": ("bias", _same),
    "noise_strength": ("noise_strength", _same),
    "affine.weight": ("mod_weight", np.transpose),
    # TensorFlow adds the 1 at run time.
    "affine.bias": ("mod_bias", lambda x: x + np.float32(1)),
}


def generator_of(content: object) -> TfNetwork | None:
    """Gs of a checkpoint of this kind; None for a file of another kind."""
    if isinstance(content, tuple | list) and len(content) == 3:
        content = content[2]
    return content if isinstance(content, TfNetwork) else None


def generator_from_tensorflow(checkpoint: Checkpoint, network: TfNetwork) -> GeneratorWeights:
    """Read Gs.

    Raises:
        CheckpointError: it is a configuration before E, conditional, of another architecture than 'skip', or damaged.
    """
    reading = checkpoint.reading
    variables = _variables(reading, network)
    options = network.state.get("static_kwargs")
    options = options if isinstance(options, dict) else {}
    _check_architecture(reading, variables, options)
    found = [int(m[1]) for name in variables if (m := re.fullmatch(r"synthesis/(\d{1,5})x\1/ToRGB/weight", name))]
    resolution = checked_resolution(reading, max(found, default=0))
    names = _official_names(resolution, count_matching(variables, r"mapping/Dense\d{1,3}/weight"))
    official = {theirs for theirs, _ in names.values()}
    refuse_others(reading, variables, official | {name for name in variables if name.rpartition("/")[2] == "lod"})
    silent = [layer for layer in layers_of(resolution) if _is_silent(names, variables, layer)]
    absent = {name for layer in silent for name in layer.noise_names}
    absent |= set() if "dlatent_avg" in variables else {"mapping.w_avg"}
    names = {name: theirs for name, theirs in names.items() if name not in absent}
    tensors = {
        name: _converted(reading, theirs, taken(reading, variables, theirs), change)
        for name, (theirs, change) in names.items()
    } | zero_noise(silent)
    check_generator(reading, tensors)
    return GeneratorWeights(
        tensors,
        checkpoint.source("TensorFlow"),
        conv_clamp=checked_clamp(reading, options.get("conv_clamp")),
        fp16_from=_fp16_from(resolution, options),
        notes=(NO_NOISE,) if silent else (),
    )


def _variables(reading: Reading, root: TfNetwork) -> StoredTensors:
    """Variables by name, those of components under the component's name and a slash."""
    variables: StoredTensors = {}
    components = root.state.get("components")
    networks = {"": root} | {f"{k}/": v for k, v in (components.items() if isinstance(components, dict) else [])}
    for prefix, network in networks.items():
        pairs = network.state.get("variables") if isinstance(network, TfNetwork) else None
        for pair in pairs if isinstance(pairs, list | tuple) else []:
            match pair:
                case (str(name), StoredTensor() as tensor):
                    variables[prefix + name] = tensor
                case (str(), None | int() | float()):
                    pass
                case _:
                    raise reading.error("variables of another form", expected="(name, array) pairs")
    return variables


def _check_architecture(reading: Reading, variables: StoredTensors, options: dict[str, object]) -> None:
    other = _other_architecture(variables, options)
    if other:
        raise reading.error(
            other, expected="an unconditional StyleGAN2 generator of configuration E or F", remedy=RESAVE_GENERATOR
        )


def _other_architecture(variables: StoredTensors, options: dict[str, object]) -> str | None:
    supported = {
        "architecture": "skip",
        "nonlinearity": "lrelu",
        "resample_kernel": [1, 3, 3, 1],
        "mapping_lrmul": 0.01,
        "label_size": 0,
    }
    for option, value in supported.items():
        if options.get(option, value) not in (value, None):
            return f"the option {option} = {_shown(options[option])}"
    telling = {
        "/ToRGB_lod": "a generator of configurations A to D",
        "/Skip/": "the architecture 'resnet'",
        "/Label": "a conditional generator, which takes class labels",
    }
    return next((what for sign, what in telling.items() if any(sign in name for name in variables)), None)


def _shown(value: object) -> str:
    return str([clipped(v) for v in value[:8]]) if isinstance(value, list | tuple) else clipped(value)


def _official_names(resolution: int, depth: int) -> dict[str, tuple[str, _Change]]:
    names: dict[str, tuple[str, _Change]] = {
        "mapping.w_avg": ("dlatent_avg", _same),
        "synthesis.4.const": ("synthesis/4x4/Const/const", lambda x: x[0]),
    }
    for i in range(depth):
        names[f"mapping.{i}.weight"] = (f"mapping/Dense{i}/weight", np.transpose)
        names[f"mapping.{i}.bias"] = (f"mapping/Dense{i}/bias", _same)
    for layer in layers_of(resolution):
        for part in layer.parts:
            names[f"{layer.name}.{part}"] = _official_part(layer, part)
    return names


def _official_part(layer: Layer, part: str) -> tuple[str, _Change]:
    r = layer.resolution
    module = {"up": "Conv0_up", "conv": "Conv" if r == 4 else "Conv1", "rgb": "ToRGB"}[layer.kind]
    if part == "noise":
        return f"synthesis/noise{layer.noise_index}", lambda x: x[0, 0]
    if part == "weight":
        turned = {"up": _turned_and_flipped, "conv": _turned, "rgb": _turned_to_matrix}[layer.kind]
        return f"synthesis/{r}x{r}/{module}/weight", turned
    name, change = _PARTS[part]
    return f"synthesis/{r}x{r}/{module}/{name}", change


def _is_silent(names: dict[str, tuple[str, _Change]], variables: StoredTensors, layer: Layer) -> bool:
    return layer.kind != "rgb" and names[f"{layer.name}.noise_strength"][0] not in variables


def _converted(reading: Reading, name: str, tensor: StoredTensor, change: _Change) -> Array:
    try:
        return np.array(change(tensor.array()), order="C")
    except (IndexError, ValueError):
        raise reading.error(
            f"a variable {name!r} of shape {list(tensor.shape)}",
            expected="the shapes of a StyleGAN2 generator",
            remedy=RESAVE_GENERATOR,
        ) from None


def _fp16_from(resolution: int, options: dict[str, object]) -> int | None:
    count = options.get("num_fp16_res")
    return max(2 * resolution >> min(count, 32), 8) if isinstance(count, int) and count > 0 else None
