"""rosinality's checkpoints, derived formats and safetensors: reading, writing, and reading back."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    assert_same,
    rosinality_state,
    saved,
    torch_tensors,
    written,
)
from generators import random_generator
from safetensors.numpy import save_file

from engines.contract.errors import CheckpointError, ExportError
from export.checkpoints import (
    read_generator,
    write_generator_safetensors,
    write_rosinality,
)
from export.weights import GeneratorWeights


@pytest.fixture(scope="module")
def generator() -> GeneratorWeights:
    return random_generator(16, 4, w_dim=8, mapping_depth=3)


CANONICAL = {
    "mapping.7.weight": "style.8.weight",
    "synthesis.4.const": "input.input",
    "synthesis.4.conv.affine.bias": "conv1.conv.modulation.bias",
    "synthesis.4.rgb.weight": "to_rgb1.conv.weight",
    "synthesis.8.up.weight": "convs.0.conv.weight",
    "synthesis.8.up.noise": "noises.noise_1",
    "synthesis.16.conv.noise_strength": "convs.3.noise.weight",
    "synthesis.16.conv.bias": "convs.3.activate.bias",
    "synthesis.32.rgb.bias": "to_rgbs.2.bias",
    "synthesis.32.conv.noise": "noises.noise_6",
}


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality_tensors_get_their_canonical_names_and_lose_axes_of_length_1(tmp_path: Path, legacy: bool) -> None:
    state = rosinality_state()
    path = saved(tmp_path / "generator.pt", {"g_ema": torch_tensors(state)}, legacy=legacy)
    weights = read_generator(path)
    assert len(weights.tensors) == len(state) - 6  # the filters
    assert (weights.resolution, weights.mapping_depth, weights.w_dim) == (32, 8, 8)
    for name, official in CANONICAL.items():
        np.testing.assert_array_equal(weights.tensors[name].ravel(), state[official].ravel(), err_msg=name)
    assert weights.source.format == ("rosinality (legacy)" if legacy else "rosinality (zip)")


@pytest.mark.parametrize("key", ["g_ema", "params_ema", "g", "state_dict", None])
def test_the_generator_is_found_under_each_usual_key(tmp_path: Path, key: str | None) -> None:
    state = torch_tensors(rosinality_state())
    weights = read_generator(saved(tmp_path / "generator.pt", {key: state} if key else state))
    assert weights.notes == (("the weights of 'g', which are not the running average",) if key == "g" else ())


def test_the_running_average_wins_over_the_trained_weights(tmp_path: Path) -> None:
    states = {"g": torch_tensors(rosinality_state("raw")), "g_ema": torch_tensors(rosinality_state("average"))}
    weights = read_generator(saved(tmp_path / "generator.pt", states))
    expected = rosinality_state("average")["input.input"][0]
    np.testing.assert_array_equal(weights.tensors["synthesis.4.const"], expected)


def test_a_whole_training_checkpoint_is_read(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    content = {
        "g": OrderedDict((f"module.{name}", value) for name, value in torch_tensors(rosinality_state()).items()),
        "g_optim": optimizer.state_dict(),
        "args": argparse.Namespace(size=32, lr=0.002, betas=(0, 0.99), device="cuda"),
        "ada_aug_p": np.float64(0.25),
    }
    assert read_generator(saved(tmp_path / "000100.pt", content)).resolution == 32


@pytest.mark.parametrize("rows", [None, 1, 8])
def test_the_average_latent_may_be_stored_once_or_for_every_row(tmp_path: Path, rows: int | None) -> None:
    average = torch.arange(8.0)
    content = {"g_ema": torch_tensors(rosinality_state()), "latent_avg": average.repeat(rows, 1) if rows else average}
    weights = read_generator(saved(tmp_path / "generator.pt", content))
    np.testing.assert_array_equal(weights.tensors["mapping.w_avg"], average)


def test_missing_noise_maps_are_drawn_from_a_fixed_seed_and_noted(tmp_path: Path) -> None:
    state = {name: value for name, value in torch_tensors(rosinality_state()).items() if not name.startswith("noises.")}
    path = saved(tmp_path / "old.pt", {"g_ema": state})
    first, second = read_generator(path), read_generator(path)
    assert first.notes == ("the file holds no noise maps; fixed random ones were drawn",)
    assert first.tensors["synthesis.32.conv.noise"].std() == pytest.approx(1, abs=0.1)
    assert_same(first.tensors, second.tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = torch_tensors(rosinality_state(), dtype)
    weights = read_generator(saved(tmp_path / "generator.pt", {"g_ema": state}))
    expected = state["convs.0.conv.weight"][0].float()
    np.testing.assert_array_equal(weights.tensors["synthesis.8.up.weight"], expected, strict=True)


def test_writing_gives_back_the_official_state_dict(tmp_path: Path) -> None:
    state = torch_tensors(rosinality_state())
    weights = read_generator(saved(tmp_path / "in.pt", {"g_ema": state, "latent_avg": torch.arange(8.0)}))
    write_rosinality(weights, tmp_path / "out.pt")
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert content["g_ema"].keys() == state.keys()
    assert all(torch.equal(content["g_ema"][name], value) for name, value in state.items())
    assert torch.equal(content["latent_avg"], torch.arange(8.0))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("write", [write_rosinality, write_generator_safetensors])
def test_a_written_generator_reads_back(tmp_path: Path, generator: GeneratorWeights, write: Any, half: bool) -> None:
    write(generator, tmp_path / "generator.safetensors", half=half)
    expected = {name: array.astype(np.float16).astype(np.float32) if half else array for name, array in
                generator.tensors.items()}  # fmt: skip
    assert_same(read_generator(tmp_path / "generator.safetensors").tensors, expected)


def test_rosinality_cannot_carry_a_clamp_unless_it_is_dropped_on_purpose(tmp_path: Path) -> None:
    clamped = random_generator(8, 4, conv_clamp=256)
    with pytest.raises(CheckpointError, match="conv_clamp 256, expected one without, as rosinality's format"):
        write_rosinality(clamped, tmp_path / "generator.pt")
    assert list(tmp_path.iterdir()) == []
    write_rosinality(clamped, tmp_path / "generator.pt", drop_clamp=True)
    assert read_generator(tmp_path / "generator.pt").conv_clamp is None


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path, generator: GeneratorWeights) -> None:
    path = written(tmp_path / "generator.pt", b"precious")
    with pytest.raises(ExportError, match="already there"):
        write_rosinality(generator, path)
    assert path.read_bytes() == b"precious"
    write_rosinality(generator, path, force=True)
    assert_same(read_generator(path).tensors, generator.tensors)


def test_a_weight_beyond_float16_is_not_stored_as_infinity(tmp_path: Path, generator: GeneratorWeights) -> None:
    large = replace(generator, tensors={**generator.tensors, "synthesis.4.const": np.full((4, 4, 4), 1e5, np.float32)})
    with pytest.raises(CheckpointError, match=r"'input.input' beyond 65504"):
        write_rosinality(large, tmp_path / "generator.pt", half=True)
    assert list(tmp_path.iterdir()) == []


def test_safetensors_keep_clamp_precision_and_notes(tmp_path: Path) -> None:
    original = replace(random_generator(8, 4, conv_clamp=256), fp16_from=8, notes=("drawn for a test",))
    write_generator_safetensors(original, tmp_path / "generator.safetensors")
    weights = read_generator(tmp_path / "generator.safetensors")
    assert_same(weights.tensors, original.tensors)
    assert (weights.conv_clamp, weights.fp16_from, weights.notes) == (256, 8, ("drawn for a test",))
    assert weights.source.format == "toonify-serve (safetensors)"


def test_a_header_whose_size_begins_like_a_pickle_is_one_of_safetensors(tmp_path: Path) -> None:
    path, state = tmp_path / "generator.safetensors", rosinality_state()
    save_file(state, path, metadata={"about": ""})
    # The header's size grows with the metadata.
    save_file(state, path, metadata={"about": " " * ((0x80 - path.read_bytes()[0]) % 256)})
    assert path.read_bytes()[0] == 0x80
    assert read_generator(path).resolution == 32


def test_safetensors_of_others_may_hold_rosinalitys_names(tmp_path: Path) -> None:
    save_file(rosinality_state(), tmp_path / "generator.safetensors")
    assert read_generator(tmp_path / "generator.safetensors").resolution == 32
