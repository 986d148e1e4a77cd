"""Reader of NVIDIA's TensorFlow pickles ``(G, D, Gs)``, of which each is a ``dnnlib.tflib.network.Network``.

The variables of StyleGAN1 go on to ``stylegan1.py``. Gs is the generator with the running average of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from export.checkpoints import stylegan1
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.labels import check_unconditional, folded_label
from export.checkpoints.layout import (
    NO_NOISE,
    RESAVE_GENERATOR,
    Layer,
    check_no_other_tensors,
    checked_clamp,
    checked_resolution,
    count_matching,
    layers_of,
    require_tensor,
    zero_noise,
)
from export.checkpoints.stand_ins import TfNetwork
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped, scalar_tensor
from export.checkpoints.validation import check_generator
from export.weights import Array, GeneratorWeights

_Conversion = Callable[[Array], Array]


def _unchanged(x: Array) -> Array:
    return x


def _to_oihw(x: Array) -> Array:
    """Transpose a convolution's weight, [k, k, I, O] -> [O, I, k, k]."""
    return x.transpose(3, 2, 0, 1)


def _to_flipped_oihw(x: Array) -> Array:
    # TensorFlow's transposed convolution flips the kernel, PyTorch's does not.
    return _to_oihw(x[::-1, ::-1])


def _to_matrix(x: Array) -> Array:
    """Convert a 1x1 convolution's weight to a matrix, [1, 1, I, O] -> [O, I]."""
    return _to_oihw(x).reshape(x.shape[3], -1)


_PARTS: dict[str, tuple[str, _Conversion]] = {
    "bias": ("bias", _unchanged),
    "noise_strength": ("noise_strength", _unchanged),
    "affine.weight": ("mod_weight", np.transpose),
    # TensorFlow adds the 1 at run time.
    "affine.bias": ("mod_bias", lambda x: x + np.float32(1)),
}

_EMBEDDING = ("mapping/LabelEmbed/weight", "mapping/LabelEmbed/bias")
"""The embedding of labels in a conditional generator of stylegan2-ada."""


def generator_of(content: object) -> TfNetwork | None:
    """Return Gs of a TensorFlow checkpoint; None if ``content`` is of another kind."""
    if isinstance(content, tuple | list) and len(content) == 3:
        content = content[2]
    return content if isinstance(content, TfNetwork) else None


def generator_from_tensorflow(checkpoint: Checkpoint, network: TfNetwork, label: int | None = None) -> GeneratorWeights:
    """Read Gs; ``label`` is the class of a conditional generator of stylegan2-ada, see ``labels.py``.

    Raises:
        CheckpointError: a conditional generator is given without its class, or is older than stylegan2-ada; or the
            generator is of configurations B to D, not 'skip', or damaged; see also
            ``stylegan1.generator_from_tensorflow``.
    """
    context = checkpoint.context
    variables = _variables(context, network)
    options = network.state.get("static_kwargs")
    options = options if isinstance(options, dict) else {}
    if stylegan1.is_tensorflow(variables):
        check_unconditional(context, label)
        return stylegan1.generator_from_tensorflow(checkpoint, variables, options)
    _check_architecture(context, variables, options)
    resolutions = [int(m[1]) for name in variables if (m := re.fullmatch(r"synthesis/(\d{1,5})x\1/ToRGB/weight", name))]
    resolution = checked_resolution(context, max(resolutions, default=0))
    names = _official_names(resolution, count_matching(variables, r"mapping/Dense\d{1,3}/weight"))
    official_names = {official for official, _ in names.values()}
    unused = {name for name in variables if name.rpartition("/")[2] == "lod"}
    check_no_other_tensors(context, variables, official_names.union(_EMBEDDING, unused))
    noiseless = _noiseless(names, variables, resolution)
    absent = {name for layer in noiseless for name in layer.noise_names}
    absent |= set() if "dlatent_avg" in variables else {"mapping.w_avg"}
    names = {name: official for name, official in names.items() if name not in absent}
    tensors = {
        name: _converted(context, official, require_tensor(context, variables, official), convert)
        for name, (official, convert) in names.items()
    } | zero_noise(noiseless)
    first_layer, notes = folded_label(context, tensors, _embedding(context, variables), label)
    tensors |= first_layer
    check_generator(context, tensors)
    return GeneratorWeights(
        tensors,
        checkpoint.source("TensorFlow"),
        conv_clamp=checked_clamp(context, options.get("conv_clamp")),
        fp16_from=_fp16_from(resolution, options),
        notes=((NO_NOISE,) if noiseless else ()) + notes,
    )


def _variables(context: ReadContext, root: TfNetwork) -> StoredTensors:
    """Return the variables by name; a component's variables are prefixed with its name and a slash."""
    variables: StoredTensors = {}
    components = root.state.get("components")
    networks = {"": root} | {f"{k}/": v for k, v in (components.items() if isinstance(components, dict) else [])}
    for prefix, network in networks.items():
        pairs = network.state.get("variables") if isinstance(network, TfNetwork) else None
        pairs = pairs if isinstance(pairs, list | tuple) else []
        context.spend_entries(len(pairs))
        for pair in pairs:
            match pair:
                case (str(name), StoredTensor() as tensor):
                    variables[context.joined(prefix, name)] = tensor
                case (str(name), int() | float() as number):
                    # TensorFlow's session returns variables of shape [] as NumPy scalars.
                    variables[context.joined(prefix, name)] = scalar_tensor(context, number)
                case _:
                    raise context.error("variables in an unknown form", expected="(name, array) pairs")
    return variables


def _check_architecture(context: ReadContext, variables: StoredTensors, options: dict[str, object]) -> None:
    other = _other_architecture(variables, options)
    if other:
        raise context.error(other, expected="a StyleGAN2 generator of configuration E or F", remedy=RESAVE_GENERATOR)


def _other_architecture(variables: StoredTensors, options: dict[str, object]) -> str | None:
    supported = {
        "architecture": "skip",
        "nonlinearity": "lrelu",
        "resample_kernel": [1, 3, 3, 1],
        "mapping_lrmul": 0.01,
        "mapping_nonlinearity": "lrelu",
        "normalize_latents": True,
    }
    for option, value in supported.items():
        if options.get(option, value) not in (value, None):
            return f"the option {option} = {_printable(options[option])}"
    markers = {
        "/ToRGB_lod": "a generator of configurations B to D",
        "/Skip/": "the architecture 'resnet'",
        "/LabelConcat": "a conditional generator whose labels are normalised together with z, so that no class of it "
        "can be folded into the mapping network",
    }
    return next((what for marker, what in markers.items() if any(marker in name for name in variables)), None)


def _printable(value: object) -> str:
    return str([clipped(v) for v in value[:8]]) if isinstance(value, list | tuple) else clipped(value)


def _official_names(resolution: int, depth: int) -> dict[str, tuple[str, _Conversion]]:
    names: dict[str, tuple[str, _Conversion]] = {
        "mapping.w_avg": ("dlatent_avg", _unchanged),
        "synthesis.4.const": ("synthesis/4x4/Const/const", lambda x: x[0]),
    }
    for i in range(depth):
        names[f"mapping.{i}.weight"] = (f"mapping/Dense{i}/weight", np.transpose)
        names[f"mapping.{i}.bias"] = (f"mapping/Dense{i}/bias", _unchanged)
    for layer in layers_of(resolution):
        for part in layer.parts:
            names[f"{layer.name}.{part}"] = _official_part(layer, part)
    return names


def _official_part(layer: Layer, part: str) -> tuple[str, _Conversion]:
    r = layer.resolution
    module = {"up": "Conv0_up", "conv": "Conv" if r == 4 else "Conv1", "rgb": "ToRGB"}[layer.kind]
    if part == "noise":
        return f"synthesis/noise{layer.noise_index}", lambda x: x[0, 0]
    if part == "weight":
        convert_weight = {"up": _to_flipped_oihw, "conv": _to_oihw, "rgb": _to_matrix}[layer.kind]
        return f"synthesis/{r}x{r}/{module}/weight", convert_weight
    name, convert = _PARTS[part]
    return f"synthesis/{r}x{r}/{module}/{name}", convert


def _noiseless(names: dict[str, tuple[str, _Conversion]], variables: StoredTensors, resolution: int) -> list[Layer]:
    """The layers of a network trained without noise; if only some strengths are missing, the network is incomplete."""
    layers = [layer for layer in layers_of(resolution) if layer.noise_names]
    has_strengths = any(names[f"{layer.name}.noise_strength"][0] in variables for layer in layers)
    return [] if has_strengths else layers


def _embedding(context: ReadContext, variables: StoredTensors) -> tuple[Array, Array] | None:
    """Return weight and bias of a conditional generator's embedding of labels."""
    if not variables.keys() & {*_EMBEDDING}:
        return None
    weight, bias = (require_tensor(context, variables, name).array() for name in _EMBEDDING)
    return weight.T, bias


def _converted(context: ReadContext, name: str, tensor: StoredTensor, convert: _Conversion) -> Array:
    try:
        return np.array(convert(tensor.array()), order="C")
    except (IndexError, ValueError):
        raise context.error(
            f"a variable {name!r} of shape {list(tensor.shape)}",
            expected="the shapes of a StyleGAN2 generator",
            remedy=RESAVE_GENERATOR,
        ) from None


def _fp16_from(resolution: int, options: dict[str, object]) -> int | None:
    count = options.get("num_fp16_res")
    return max(2 * resolution >> min(count, 32), 8) if isinstance(count, int) and count > 0 else None
