"""Good weights with the marks of their training: wrapped names, and objects beside them that no reader needs."""

from __future__ import annotations

import argparse
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    assert_same,
    encoder_checkpoint,
    encoder_state,
    isf_state,
    nvlabs_pickle,
    rosinality_state,
    saved,
    torch_tensors,
    written,
)
from generators import random_generator
from training_baggage import BAGGAGE

from engines.contract.errors import CheckpointError
from export.checkpoints import read_checkpoint, read_encoder, read_generator, read_isf


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", BAGGAGE)
def test_what_lies_beside_good_weights_is_left_alone(tmp_path: Path, name: str, legacy: bool) -> None:
    plain = saved(tmp_path / "plain.pt", {"g_ema": torch_tensors(rosinality_state())})
    content = {"g_ema": torch_tensors(rosinality_state()), "args": {"more": BAGGAGE[name]}, "more": BAGGAGE[name]}
    weights = read_generator(saved(tmp_path / "generator.pt", content, legacy=legacy))
    assert_same(weights.tensors, dict(read_generator(plain).tensors))


def test_all_of_it_together_costs_little(tmp_path: Path) -> None:
    content = {"mapnet": torch_tensors(isf_state()), **BAGGAGE}
    assert read_isf(saved(tmp_path / "isf.ckpt", content)).attributes


@pytest.mark.parametrize(
    "options",
    [
        lambda opts: defaultdict(str, opts),
        lambda opts: types.SimpleNamespace(**opts),
        lambda opts: argparse.Namespace(**opts, device=torch.device("cuda")),
        lambda opts: {**opts, "seen": defaultdict(int), "seed": np.int64(5)},
    ],
    ids=["defaultdict", "simple namespace", "with a device", "with counts"],
)
def test_options_are_read_whatever_holds_them(tmp_path: Path, options: Any) -> None:
    checkpoint = encoder_checkpoint(opts=options({"encoder_type": "Encoder4Editing"}))
    assert read_encoder(saved(tmp_path / "encoder.pt", checkpoint)).kind == "e4e"


def wrapped(checkpoint: dict[str, Any], rename: Any) -> dict[str, Any]:
    return {**checkpoint, "state_dict": {rename(name): value for name, value in checkpoint["state_dict"].items()}}


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: name.replace("encoder.", "encoder.module.", 1),
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"module.{name}" if name.startswith("encoder.") else name,
    ],
    ids=["all", "the encoder in it", "compiled", "both", "the encoder alone"],
)
def test_an_encoder_of_parallel_training_is_read(tmp_path: Path, rename: Any) -> None:
    path = saved(tmp_path / "encoder.pt", wrapped(encoder_checkpoint(), rename))
    expected = {name: value for name, value in encoder_state().items() if not name.endswith("num_batches_tracked")}
    assert_same(read_encoder(path).tensors, expected)
    assert_same(read_checkpoint(path).tensors, expected)


@pytest.mark.parametrize(
    "rename", [lambda name: f"module.{name}", lambda name: name.replace("decoder.", "decoder.module.", 1)]
)
def test_a_decoder_of_parallel_training_is_read(tmp_path: Path, rename: Any) -> None:
    checkpoint = encoder_checkpoint(latent_avg=None)
    plain = read_generator(saved(tmp_path / "plain.pt", checkpoint))
    parallel = saved(tmp_path / "parallel.pt", wrapped(checkpoint, rename))
    assert_same(read_generator(parallel).tensors, dict(plain.tensors))


@pytest.mark.parametrize("prefix", ["generator.", "module.generator.", "G.", "g_ema.module.", "decoder."])
@pytest.mark.parametrize("more", [{}, {"discriminator.convs.0.0.weight": torch.zeros(3)}], ids=["alone", "both"])
def test_a_generator_that_is_a_part_of_a_module_is_read(tmp_path: Path, prefix: str, more: dict[str, Any]) -> None:
    state = torch_tensors(rosinality_state())
    plain = read_generator(saved(tmp_path / "plain.pt", {"g_ema": state}))
    part = {f"{prefix}{name}": value for name, value in state.items()} | more
    for content in (part, {"state_dict": part}):
        weights = read_generator(saved(tmp_path / "generator.pt", content))
        assert_same(weights.tensors, dict(plain.tensors))
        assert len(weights.source.left_out) == len(more)
        (tmp_path / "generator.pt").unlink()


def test_a_dualstylegan_is_still_told_by_its_other_branches(tmp_path: Path) -> None:
    state = {f"generator.{name}": value for name, value in torch_tensors(rosinality_state()).items()}
    state |= {"res.0.norm.style.weight": torch.zeros(3), "style.1.weight": torch.zeros(3)}
    with pytest.raises(CheckpointError, match="a DualStyleGAN network"):
        read_generator(saved(tmp_path / "generator.pt", {"g_ema": state}))


def test_a_generator_beside_parts_that_are_unknown_is_refused_by_the_first_of_them(tmp_path: Path) -> None:
    state = {f"generator.{name}": value for name, value in torch_tensors(rosinality_state()).items()}
    sentence = "a larger network, of which 'generator' is a generator and 'light.weight' is not, .* save only the gen"
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(saved(tmp_path / "generator.pt", {"g_ema": {**state, "light.weight": torch.zeros(3)}}))


@pytest.mark.parametrize("channels", [1, 4])
def test_a_generator_of_other_than_colour_pictures_is_named(tmp_path: Path, channels: int) -> None:
    state = rosinality_state()
    for name in [name for name in state if name.startswith("to_rgb") and name.endswith((".conv.weight", ".bias"))]:
        if "modulation" not in name:
            state[name] = np.repeat(state[name][:, :1], channels, axis=1)
    sentence = f"got a generator of pictures with {channels} channels?, expected 3, red, green and blue"
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(saved(tmp_path / "generator.pt", {"g_ema": torch_tensors(state)}))
    weights = random_generator(8, 2, w_dim=4)
    for name in [name for name in weights.tensors if ".rgb." in name and "affine" not in name]:
        weights.tensors[name] = np.repeat(weights.tensors[name][:1], channels, axis=0)
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(written(tmp_path / "network.pkl", nvlabs_pickle(weights)))


def test_an_array_of_objects_among_the_weights_is_none(tmp_path: Path) -> None:
    objects = np.array([1, None], dtype=object)
    state = {**torch_tensors(rosinality_state()), "conv1.activate.bias": objects}
    with pytest.raises(CheckpointError, match=r"a tensor of NumPy's type '\|O8' \[0\] among the weights"):
        read_generator(saved(tmp_path / "generator.pt", {"g_ema": state}))
