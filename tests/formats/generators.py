"""Rows of the formats of generators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_files import DATA, nvlabs_pickle, official_shapes, saved, tensorflow_pickle, torch_tensors, written
from deterministic_weights import generator_value, state_dict
from generators import random_generator
from safetensors.numpy import save_file
from stylegan1_files import W_DIM, genforce_file, interfacegan_file, tensorflow_file, variables
from stylegan1_formula import official_codes, official_truncation
from stylegan1_formula import official_picture as stylegan1_picture
from stylegan2_formula import official_code, official_picture
from torch import Tensor

from export.checkpoints import read_generator, write_generator_safetensors
from export.checkpoints.rosinality import filter_names, official_array, official_names
from export.networks.architectures import network_from_weights
from export.networks.generator import generator_from_weights
from export.weights import GeneratorWeights
from tests.formats.differences import FORMULA, RECORDED, Compare, Difference, Row, of_pictures

PSI = 0.7
CLASSES, CLASS = 5, 2

State = dict[str, Tensor]
Write = Callable[[Path, GeneratorWeights], Path]

WEIGHTS = random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5}, w_dim=16, mapping_depth=3)
CLAMPED = replace(WEIGHTS, conv_clamp=0.7)
SILENT = replace(
    WEIGHTS,
    tensors={
        name: np.zeros_like(value) if name.endswith(("noise", "noise_strength")) else value
        for name, value in WEIGHTS.tensors.items()
    },
)
_RNG = np.random.default_rng(0)
CONDITIONAL = replace(
    WEIGHTS,
    tensors={**WEIGHTS.tensors, "mapping.0.weight": (100 * _RNG.standard_normal((16, 22))).astype(np.float32)},
)
EMBEDDING = _RNG.standard_normal((6, CLASSES)).astype(np.float32), _RNG.standard_normal(6).astype(np.float32)


def _stylegan2(write: Write, weights: GeneratorWeights = WEIGHTS, label: int | None = None) -> Compare:
    """Compare the picture of a code whose rows come from different z, truncated if the file has an average."""
    weight, bias = (torch.from_numpy(array).double() for array in EMBEDDING)
    embedded = None if label is None else weight[:, label] / CLASSES**0.5 + bias

    def compare(folder: Path) -> Difference:
        read = read_generator(write(folder / "network", weights), label)
        network = generator_from_weights(read)
        psi = PSI if "mapping.w_avg" in read.tensors else 1.0
        z = torch.randn(read.rows, read.z_dim, generator=torch.Generator().manual_seed(0))
        got = network(network.mapping(z)[None], torch.full((1, 1), psi))
        code = official_code(weights.tensors, z.double(), psi, embedded)
        return of_pictures(got, official_picture(weights.tensors, code, weights.conv_clamp))

    return compare


def _stylegan1(write: Callable[..., Path]) -> Compare:
    def compare(folder: Path) -> Difference:
        tensors = variables()
        network = network_from_weights(read_generator(write(folder / "network", tensors)))
        z = np.random.default_rng(0).standard_normal((12, W_DIM))
        got = network(network.mapping(torch.from_numpy(z).float())[None], torch.full((1, 1), PSI))
        code = official_truncation(tensors, official_codes(tensors, z)[None], PSI)
        return of_pictures(got, torch.from_numpy(stylegan1_picture(tensors, code)))

    return compare


def _recorded(file: str, codes: str, path: Callable[[Path], Path]) -> Compare:
    def compare(folder: Path) -> Difference:
        with np.load(DATA / file) as arrays:
            recorded = {name: torch.from_numpy(arrays[name]) for name in (codes, "image", "z", "image_z_psi07")}
        network = generator_from_weights(read_generator(path(folder)))
        w = network.mapping(recorded["z"])[:, None].expand(-1, 8, -1)
        got = [network.synthesise(recorded[codes]), network(w, torch.full((len(w), 1), PSI))]
        return of_pictures(torch.cat(got), torch.cat([recorded["image"], recorded["image_z_psi07"]]))

    return compare


def _official_rosinality(folder: Path) -> Path:
    state = state_dict("public", official_shapes("ros32_public.npz"), generator_value)
    with np.load(DATA / "ros32_public.npz") as recorded:
        average = torch.from_numpy(recorded["latent_avg"])
    return saved(folder / "network.pt", {"g_ema": torch_tensors(state), "latent_avg": average})


def _rosinality(content: Callable[[State, Tensor], dict[str, Any]]) -> Write:
    """Return what writes a file whose content is made of rosinality's state dict and the average of w."""

    def write(path: Path, weights: GeneratorWeights) -> Path:
        return saved(path, content(_state(weights), torch.from_numpy(weights.tensors["mapping.w_avg"])))

    return write


def _state(weights: GeneratorWeights) -> State:
    names = official_names(weights.resolution, weights.mapping_depth)
    state = {official: official_array(name, weights.tensors[name]) for name, official in names.items()}
    fir = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16
    return torch_tensors(state | dict.fromkeys(filter_names(weights.resolution), fir))


def _prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def _encoder_and_decoder(state: State, average: Tensor) -> dict[str, Any]:
    both = {**_prefixed(state, "decoder."), "encoder.input_layer.0.weight": torch.zeros(4, 3, 3, 3)}
    return {"state_dict": both, "latent_avg": average.repeat(8, 1), "opts": {"encoder_type": "GradualStyleEncoder"}}


def _pickle(make: Callable[..., bytes], **options: Any) -> Write:
    return lambda path, weights: written(path, make(weights, **options))


def _safetensors(path: Path, weights: GeneratorWeights) -> Path:
    write_generator_safetensors(weights, path)
    return path


def _safetensors_of_others(path: Path, weights: GeneratorWeights) -> Path:
    save_file({name: value.numpy() for name, value in _state(weights).items()}, path)
    return path


def _own_stylegan1(path: Path, tensors: Any) -> Path:
    return _safetensors(path, read_generator(tensorflow_file(path.with_suffix(".pkl"), tensors)))


_OPTIMIZER = {"state": {0: {"step": torch.zeros(())}}, "param_groups": [{"lr": 0.002}]}
_CLASS = {"c_dim": CLASSES, "embedding": EMBEDDING}

ROWS = (
    Row("rosinality", "`g_ema`, `latent_avg`", RECORDED, _recorded("ros32_public.npz", "w", _official_rosinality)),
    Row(
        "rosinality",
        "whole training checkpoint",
        FORMULA,
        _stylegan2(
            _rosinality(lambda state, w_avg: {"g": {}, "d": {}, "g_ema": state, "g_optim": {}, "latent_avg": w_avg})
        ),
    ),
    Row("rosinality", "bare state dict", FORMULA, _stylegan2(_rosinality(lambda state, _: state))),
    Row(
        "rosinality",
        "data-parallel, `module.`",
        FORMULA,
        _stylegan2(_rosinality(lambda state, w_avg: {"g_ema": _prefixed(state, "module."), "latent_avg": w_avg})),
    ),
    Row(
        "rosinality",
        "part of a larger module",
        FORMULA,
        _stylegan2(_rosinality(lambda state, _: _prefixed(state, "netG."))),
    ),
    Row(
        "StyleGAN-NADA",
        "`g_ema`, `g_optim`",
        FORMULA,
        _stylegan2(_rosinality(lambda state, _: {"g_ema": state, "g_optim": _OPTIMIZER})),
    ),
    Row("JoJoGAN", "`g`", FORMULA, _stylegan2(_rosinality(lambda state, _: {"g": state}))),
    Row(
        "JoJoGAN",
        "`g`, `latent_avg`",
        FORMULA,
        _stylegan2(_rosinality(lambda state, w_avg: {"g": state, "latent_avg": w_avg})),
    ),
    Row("pSp, e4e", "decoder", FORMULA, _stylegan2(_rosinality(_encoder_and_decoder))),
    Row(
        "stylegan2-ada-pytorch",
        "as written",
        RECORDED,
        _recorded("nv32_public.npz", "ws", lambda _: DATA / "nv32_public.pkl"),
    ),
    Row("stylegan2-ada-pytorch", "without noise", FORMULA, _stylegan2(_pickle(nvlabs_pickle, use_noise=False), SILENT)),
    Row(
        "stylegan2-ada-pytorch",
        "one of five classes",
        FORMULA,
        _stylegan2(_pickle(nvlabs_pickle, **_CLASS), CONDITIONAL, CLASS),
    ),
    Row(
        "stylegan3's StyleGAN2",
        "`conv_clamp`, float16",
        FORMULA,
        _stylegan2(_pickle(nvlabs_pickle, fp16_from=8), CLAMPED),
    ),
    Row("TensorFlow StyleGAN2", "configuration F", FORMULA, _stylegan2(_pickle(tensorflow_pickle))),
    Row(
        "TensorFlow StyleGAN2",
        "without noise",
        FORMULA,
        _stylegan2(_pickle(tensorflow_pickle, use_noise=False), SILENT),
    ),
    Row(
        "TensorFlow stylegan2-ada",
        "`conv_clamp`",
        FORMULA,
        _stylegan2(_pickle(tensorflow_pickle, conv_clamp=0.7, num_fp16_res=2), CLAMPED),
    ),
    Row(
        "TensorFlow stylegan2-ada",
        "one of five classes",
        FORMULA,
        _stylegan2(_pickle(tensorflow_pickle, label_size=CLASSES, embedding=EMBEDDING), CONDITIONAL, CLASS),
    ),
    Row("TensorFlow StyleGAN1", "128x128", FORMULA, _stylegan1(tensorflow_file)),
    Row("genforce StyleGAN1", "`generator_smooth`", FORMULA, _stylegan1(genforce_file)),
    Row("InterFaceGAN StyleGAN1", "state dict", FORMULA, _stylegan1(interfacegan_file)),
    Row("safetensors", "this package's StyleGAN2", FORMULA, _stylegan2(_safetensors, CLAMPED)),
    Row("safetensors", "this package's StyleGAN1", FORMULA, _stylegan1(_own_stylegan1)),
    Row("safetensors", "rosinality's names", FORMULA, _stylegan2(_safetensors_of_others)),
)
"""Formats of generators."""
