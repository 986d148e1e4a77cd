"""Stand-ins of StyleGAN1 checkpoints in the official layouts, with seeded weights, and their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_files import Network, pickled_networks, saved, torch_tensors, written
from deterministic_weights import Array, Shape, random_array

W_DIM = 6
CHANNELS = {4: 5, 8: 5, 16: 4, 32: 4, 64: 3, 128: 3}
"""Up to 128, from where on the official code has transposed convolutions."""


def variables(seed: str = "public", channels: Mapping[int, int] | None = None, depth: int = 3) -> dict[str, Array]:
    """The variables of an official Gs, by name with the prefix of the component."""
    channels = channels or CHANNELS
    shapes: dict[str, Shape] = {"dlatent_avg": (W_DIM,), "lod": (), "synthesis/lod": ()}
    for i in range(depth):
        shapes |= {f"mapping/Dense{i}/weight": (W_DIM, W_DIM), f"mapping/Dense{i}/bias": (W_DIM,)}
    shapes["synthesis/4x4/Const/const"] = (1, channels[4], 4, 4)
    for number, (r, width) in enumerate(channels.items()):
        first, second = ("Const", "Conv") if r == 4 else ("Conv0_up", "Conv1")
        for module, inputs in ((first, channels.get(r // 2)), (second, width)):
            name = f"synthesis/{r}x{r}/{module}"
            if inputs:
                shapes[f"{name}/weight"] = (3, 3, inputs, width)
            shapes |= {f"{name}/bias": (width,), f"{name}/Noise/weight": (width,)}
            shapes |= {f"{name}/StyleMod/weight": (W_DIM, 2 * width), f"{name}/StyleMod/bias": (2 * width,)}
            shapes[f"synthesis/noise{2 * number + (module == second)}"] = (1, 1, r, r)
        lod = len(channels) - 1 - number
        shapes |= {f"synthesis/ToRGB_lod{lod}/weight": (1, 1, width, 3), f"synthesis/ToRGB_lod{lod}/bias": (3,)}
    return {name: _value(seed, name, shape) for name, shape in shapes.items()}


def _value(seed: str, name: str, shape: Shape) -> Array:
    x = random_array(seed, name, shape)
    if name.endswith("lod"):
        return np.float32(0) * x
    if name.startswith("mapping/") and name.endswith("weight"):
        return x / np.float32(0.01)
    small = name.endswith(("bias", "Noise/weight", "dlatent_avg")) or "ToRGB" in name
    return np.float32(0.1) * x if small else x


def tensorflow_file(path: Path, tensors: Mapping[str, Array], **static_kwargs: Any) -> Path:
    """An official pickle of Gs with these variables."""
    return written(path, pickled_networks((None, None, tensorflow_network_of(tensors, **static_kwargs))))


def tensorflow_network_of(tensors: Mapping[str, Array], **static_kwargs: Any) -> Network:
    """Gs with these variables."""
    parts: dict[str, dict[str, Array]] = {"mapping": {}, "synthesis": {}, "": {}}
    for name, array in tensors.items():
        component, _, rest = name.partition("/")
        parts[component if rest else ""][rest or name] = array
    components = {name: Network(parts[name]) for name in ("mapping", "synthesis")}
    return Network(parts[""], components=components, static_kwargs=static_kwargs)


_GENFORCE = {"StyleMod": "style", "Noise": "apply_noise"}


def genforce_state(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The same weights as genforce's converter writes them, with the filters of its modules."""
    blocks = len({name for name in tensors if name.startswith("synthesis/noise")}) // 2
    state: dict[str, Array] = {"synthesis.lod": tensors["lod"], "truncation.w_avg": tensors["dlatent_avg"]}
    for name, array in tensors.items():
        if match := re.fullmatch(r"mapping/Dense(\d+)/(\w+)", name):
            state[f"mapping.dense{match[1]}.{match[2]}"] = array.T
        elif match := re.fullmatch(r"synthesis/noise(\d+)", name):
            state[f"synthesis.layer{match[1]}.apply_noise.noise"] = array
        elif match := re.fullmatch(r"synthesis/ToRGB_lod(\d+)/(\w+)", name):
            output = f"synthesis.output{blocks - 1 - int(match[1])}.{match[2]}"
            state[output] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        elif match := re.fullmatch(r"synthesis/(\d+)x\d+/(\w+)/(.+)", name):
            index = 2 * (int(match[1]).bit_length() - 3) + (match[2] in ("Conv", "Conv1"))
            part = ".".join(_GENFORCE.get(word, word) for word in match[3].split("/"))
            array = array.transpose(3, 2, 0, 1) if part == "weight" else array.T
            state[f"synthesis.layer{index}.{part}"] = array if part != "const" else tensors[name]
            if match[2] == "Conv0_up" and part == "bias":
                blur = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
                state[f"synthesis.layer{index}.blur.kernel"] = np.tile(blur, (len(array), 1, 1, 1))
    return state


def interfacegan_state(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The same weights as InterFaceGAN's port holds them."""
    state: dict[str, Array] = {"truncation.truncation": np.ones((1, 18, 1), np.float32)}
    for name, array in genforce_state(tensors).items():
        parts = name.split(".")
        layer = int(parts[1][5:]) if parts[1].startswith("layer") else 0
        fused = layer % 2 == 0 and 4 << layer // 2 >= 128
        match parts[2:]:
            case ["const"]:
                name = "synthesis.layer0.first_layer"
            case ["weight"] if parts[0] == "mapping":
                name = f"mapping.{parts[1]}.linear.weight"
            case ["bias"] if parts[0] == "mapping":
                name = f"mapping.{parts[1]}.wscale.bias"
            case ["weight"] if fused:
                array = array.transpose(2, 3, 1, 0)
            case ["weight"]:
                name = f"synthesis.{parts[1]}.conv.weight"
            case ["style", part]:
                dense = "linear" if part == "weight" else "wscale"
                name = f"synthesis.{parts[1]}.epilogue.style_mod.dense.{dense}.{part}"
            case ["bias"] | ["apply_noise", _] if parts[1].startswith("layer"):
                name = f"synthesis.{parts[1]}.epilogue.{'.'.join(parts[2:])}"
        state[name] = array
    return state


def genforce_file(path: Path, tensors: Mapping[str, Array]) -> Path:
    state = torch_tensors(genforce_state(tensors))
    raw = {name: value + 1 for name, value in state.items()}
    discriminator = {"layer0.weight": torch.zeros(2)}
    return saved(path, {"generator": raw, "discriminator": discriminator, "generator_smooth": state})


def interfacegan_file(path: Path, tensors: Mapping[str, Array]) -> Path:
    return saved(path, torch_tensors(interfacegan_state(tensors)))
