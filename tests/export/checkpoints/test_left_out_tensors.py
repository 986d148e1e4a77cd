"""Every tensor of a checkpoint is used, or named with the reason why it is not, or an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    NvModule,
    encoder_checkpoint,
    isf_state,
    nvlabs_generator,
    nvlabs_pickle,
    pickled_modules,
    pickled_networks,
    saved,
    tensorflow_network,
    tensorflow_pickle,
    torch_tensors,
    written,
)
from generators import random_generator

from engines.contract.errors import CheckpointError
from export.checkpoints import read_checkpoint, read_generator, write_rosinality
from export.checkpoints.left_out import left_out
from export.weights import GeneratorWeights


@pytest.fixture(scope="module")
def generator() -> GeneratorWeights:
    return random_generator(16, 4, w_dim=8)


def rosinality_training_file(path: Path, generator: GeneratorWeights) -> Path:
    write_rosinality(generator, path)
    content: dict[str, Any] = torch.load(path)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.zeros(())}}, "param_groups": [{"lr": 0.002}]}
    discriminator = {"convs.0.0.weight": torch.zeros(2), "final_linear.0.bias": torch.zeros(1)}
    return saved(path, {"g": content["g_ema"], "d": discriminator, **content, "g_optim": optimizer, "ada_aug_p": 0.1})


def test_a_training_checkpoint_names_the_networks_that_are_not_used(
    tmp_path: Path, generator: GeneratorWeights
) -> None:
    weights = read_generator(rosinality_training_file(tmp_path / "network.pt", generator))
    assert weights.source.left_out == (
        "d (2 tensors): the discriminator, which only training needs",
        "g_optim (2 tensors): the state of an optimizer",
    )


def test_an_isf_checkpoint_names_its_discriminator(tmp_path: Path) -> None:
    content = {"mapnet": torch_tensors(isf_state()), "discriminator": {"out_cls.3.weight": torch.zeros(4, 8)}}
    weights = read_checkpoint(saved(tmp_path / "isf.ckpt", content))
    assert weights.source.left_out == (
        "discriminator (1 tensor): the discriminator of training, whose classifier toonify-export classifier reads",
    )


def test_an_encoder_checkpoint_names_its_decoder_and_its_counters(tmp_path: Path) -> None:
    lines = read_checkpoint(saved(tmp_path / "encoder.pt", encoder_checkpoint())).source.left_out
    assert lines == (
        "state_dict.encoder.input_layer.*.num_batches_tracked (1 tensor): a counter of training",
        "state_dict.encoder.body.*.res_layer.*.num_batches_tracked (48 tensors): a counter of training",
        "state_dict.encoder.body.*.shortcut_layer.*.num_batches_tracked (3 tensors): a counter of training",
        "state_dict.decoder (81 tensors): the generator; the encoder was read",
    )


def test_the_networks_of_a_tensorflow_pickle_are_named(tmp_path: Path, generator: GeneratorWeights) -> None:
    other, average = tensorflow_network(random_generator(8, 2, w_dim=4)), tensorflow_network(generator)
    path = written(tmp_path / "network.pkl", pickled_networks((other, other, average)))
    lines = read_generator(path).source.left_out
    assert [re.sub(r"\d+", "*", line) for line in lines] == [
        "G (* tensors): the weights of the last step; their running average is used"
    ]


def test_a_file_that_is_used_whole_leaves_nothing_out(tmp_path: Path, generator: GeneratorWeights) -> None:
    for content in (nvlabs_pickle(generator), tensorflow_pickle(generator)):
        assert read_generator(written(tmp_path / "network.pkl", content)).source.left_out == ()


def test_content_that_contains_itself_is_walked_once() -> None:
    content: dict[str, object] = {}
    content["self"] = [content, content]
    assert left_out(content) == ()


@pytest.mark.parametrize("change", [np.asarray, lambda strength: strength[()]], ids=["array", "scalar"])
def test_a_tensorflow_variable_without_axes_is_read_in_either_form(
    tmp_path: Path, generator: GeneratorWeights, change: Any
) -> None:
    network = tensorflow_network(generator)
    variables = network.state["components"]["synthesis"].state["variables"]
    variables[:] = [(name, change(np.asarray(array))) for name, array in variables]
    weights = read_generator(written(tmp_path / "network.pkl", pickled_networks((None, None, network))))
    name = "synthesis.8.conv.noise_strength"
    assert weights.tensors[name] == generator.tensors[name] != 0
    assert weights.notes == ()


@pytest.mark.parametrize("value", [None, "0.5", [0.5]])
def test_a_tensorflow_variable_that_is_no_number_is_refused(
    tmp_path: Path, generator: GeneratorWeights, value: object
) -> None:
    network = tensorflow_network(generator)
    network.state["variables"].append(("dlatent_scale", value))
    path = written(tmp_path / "network.pkl", pickled_networks((None, None, network)))
    with pytest.raises(CheckpointError, match="got variables in an unknown form"):
        read_generator(path)


def test_a_network_that_lost_one_noise_strength_is_incomplete(tmp_path: Path, generator: GeneratorWeights) -> None:
    network = tensorflow_network(generator)
    variables = network.state["components"]["synthesis"].state["variables"]
    variables[:] = [pair for pair in variables if pair[0] != "8x8/Conv1/noise_strength"]
    path = written(tmp_path / "network.pkl", pickled_networks((None, None, network)))
    with pytest.raises(CheckpointError, match="got no tensor 'synthesis/8x8/Conv1/noise_strength'"):
        read_generator(path)


def test_a_module_whose_buffer_is_no_tensor_is_refused(tmp_path: Path, generator: GeneratorWeights) -> None:
    network = nvlabs_generator(generator)
    state_of(network, "synthesis", "b8", "conv1")["_buffers"]["noise_strength"] = 0.5
    path = written(tmp_path / "network.pkl", pickled_modules({"G_ema": network}))
    with pytest.raises(CheckpointError, match=r"got no tensor but another value in 'synthesis\.b8\.conv1\.noise_"):
        read_generator(path)


@pytest.mark.parametrize(("module", "activation"), [("conv1", "relu"), ("torgb", "swish")])
def test_a_layer_with_another_activation_is_refused(
    tmp_path: Path, generator: GeneratorWeights, module: str, activation: str
) -> None:
    network = nvlabs_generator(generator)
    state_of(network, "synthesis", "b8", module)["activation"] = activation
    path = written(tmp_path / "network.pkl", pickled_modules({"G_ema": network}))
    with pytest.raises(CheckpointError, match=f"got the activation '{activation}'"):
        read_generator(path)


def state_of(module: NvModule, *names: str) -> dict[str, Any]:
    for name in names:
        module = module.meta["state"]["_modules"][name]
    return module.meta["state"]
