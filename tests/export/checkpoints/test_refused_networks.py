"""Undamaged files of networks that this package does not support: each is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    NvModule,
    encoder_checkpoint,
    isf_state,
    nvlabs_pickle,
    rosinality_state,
    saved,
    tensorflow_pickle,
    torch_tensors,
    written,
)
from deterministic_weights import FIR, Array
from generators import random_generator
from safetensors.numpy import save_file

from engines.contract.errors import CheckpointError
from export.checkpoints import read_encoder, read_generator, read_isf, write_generator_safetensors
from export.weights import GeneratorWeights

State = dict[str, Array]


@pytest.fixture(scope="module")
def generator() -> GeneratorWeights:
    return random_generator(16, 4, w_dim=8)


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def with_tensor(name: str, value: Array) -> Callable[[State], State]:
    return lambda state: {**state, name: value}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_tensor("style_conv1.bias", np.zeros(3)), "a GFPGAN-clean generator, whose upsampling and noise are not"),
        (with_tensor("style_conv1.activate.bias", np.zeros(3)), "a generator in BasicSR's names"),
        (with_tensor("res.0.norm.style.weight", np.zeros(3)), "a DualStyleGAN network.* give the StyleGAN2 generator"),
        (
            with_tensor("fusion_out.0.weight", np.zeros(3)),
            "a VToonify-T network, which redraws .* give the StyleGAN2 gen",
        ),
        (
            with_tensor("fusion_out.0.conv.weight", np.zeros(3)),
            "a VToonify-D network, which redraws .* run it with VToon",
        ),
        (
            with_tensor("style_mapping.1.linear.weight_orig", np.zeros(3)),
            "a generator in mmgeneration's names.* give the",
        ),
        (with_tensor("synthesis.early_layer.const", np.zeros(3)), "a StyleGAN2 generator in genforce's names"),
        (without("input.input"), "tensors of an unknown network, expected a StyleGAN2 generator"),
        (with_tensor("input.input", np.zeros((1, 8, 5, 3))), "a learned constant of 5 x 3, expected 4 x 4, a square"),
        (
            with_tensor("convs.2.conv.blur.kernel", np.full((4, 4), 1 / 4)),
            r"filter 'convs\.2\.conv\.blur\.kernel' other",
        ),
        (
            with_tensor("to_rgbs.0.upsample.kernel", FIR),
            r"filter 'to_rgbs\.0\.upsample\.kernel' other than \[1, 3, 3, 1\]",
        ),
        (without("to_rgbs.1.upsample.kernel"), r"no tensor 'to_rgbs\.1\.upsample\.kernel'"),
        (without("convs.3.conv.weight"), r"no tensor 'convs\.3\.conv\.weight', expected a complete StyleGAN2"),
        (without("noises.noise_4"), r"no tensor 'noises\.noise_4'"),
        (
            with_tensor("attention.weight", np.zeros(3)),
            r"the tensor 'attention\.weight' and 0 more that StyleGAN2 does not",
        ),
        (
            with_tensor("convs.1.conv.weight", np.zeros((1, 8, 8, 1, 1))),
            r"'synthesis\.8\.conv\.weight' of shape \[8, 8, 1, 1\]",
        ),
        (
            with_tensor("convs.1.conv.weight", np.zeros((2, 8, 8, 3, 3))),
            "expected 1 leading and 0 trailing axes of length 1",
        ),
        (with_tensor("style.3.weight", np.zeros((8, 9))), r"'mapping\.2\.weight' of shape \[8, 9\], expected \[8, 8\]"),
        (with_tensor("conv1.activate.bias", np.full(8, np.nan)), r"NaN or infinity in 'synthesis\.4\.conv\.bias'"),
        (with_tensor("conv1.activate.bias", np.full(8, 1e300)), r"NaN or infinity in 'synthesis\.4\.conv\.bias'"),
        (with_tensor("conv1.activate.bias", np.zeros(8, np.int64)), r"a tensor of int64 \[8\] among the weights"),
        (with_tensor("input.input", np.zeros((1, 0, 4, 4))), r"a tensor of float64 \[1, 0, 4, 4\] among the weights"),
    ],
)
def test_another_generator_under_rosinalitys_names_is_refused(
    tmp_path: Path, change: Callable[[State], State], sentence: str
) -> None:
    path = saved(tmp_path / "generator.pt", {"g_ema": torch_tensors(change(rosinality_state()))})
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(path)


@pytest.mark.parametrize(
    ("latent_avg", "sentence"),
    [
        (torch.rand(8, 8), "a latent_avg whose rows differ, expected one mean of w"),
        (torch.zeros(9), r"'mapping\.w_avg' of shape \[9\], expected \[8\]"),
        (torch.zeros(1, 1, 8), "a latent_avg of another form"),
        ("mean", "a latent_avg of another form"),
    ],
)
def test_an_average_latent_that_is_not_one_vector_is_refused(tmp_path: Path, latent_avg: object, sentence: str) -> None:
    content = {"g_ema": torch_tensors(rosinality_state()), "latent_avg": latent_avg}
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(saved(tmp_path / "generator.pt", content))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "resnet"}, "the architecture 'resnet', expected a StyleGAN2 generator"),
        ({"architecture": "orig"}, "the architecture 'orig'"),
        ({"synthesis_modules": {"b8": NvModule("Block", skip=NvModule("Conv2dLayer"))}}, "the architecture 'resnet'"),
        ({"synthesis_modules": {"input": NvModule("SynthesisInput")}}, "a StyleGAN3 generator"),
        ({"c_dim": 10}, r"no tensor 'mapping\.embed\.weight'"),
        ({"bias_gain": 0.1}, r"whose learning-rate multiplier is not 0\.01"),
        ({"conv_clamp": {4: None, 8: 256, 16: 256}}, "layers with different conv_clamp"),
        ({"conv_clamp": dict.fromkeys((4, 8, 16), -1)}, "conv_clamp = -1, expected a positive number or None"),
        ({"fir": np.full((4, 4), 1 / 16, np.float32)}, r"resample_filter' other than \[1, 3, 3, 1\]"),
        ({"fir": np.ones((12, 12), np.float32)}, r"resample_filter' other than \[1, 3, 3, 1\]"),
        ({"synthesis_modules": {"b24": NvModule("Block")}}, "a generator of resolution 24, expected a power of two"),
        ({"synthesis_modules": {"b32": NvModule("Block")}}, r"no tensor 'synthesis\.b32\.conv0\.weight'"),
        (
            {"synthesis_modules": {"extra": NvModule("Block", {"x": np.zeros(1)})}},
            r"the tensor 'synthesis\.extra\.x' and 0",
        ),
    ],
)
def test_another_generator_in_an_nvidia_pickle_is_refused(
    tmp_path: Path, generator: GeneratorWeights, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(written(tmp_path / "network.pkl", nvlabs_pickle(generator, **options)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "resnet"}, "the option architecture = 'resnet', expected a StyleGAN2 generator"),
        ({"normalize_latents": False}, "the option normalize_latents = False"),
        ({"mapping_nonlinearity": "relu"}, "the option mapping_nonlinearity = 'relu'"),
        ({"resample_kernel": [1, 1]}, r"the option resample_kernel = \['1', '1'\]"),
        ({"conv_clamp": "256"}, "conv_clamp = '256', expected a positive number or None"),
        ({"more_variables": {"16x16/Skip/weight": np.zeros(1)}}, "the architecture 'resnet'"),
        ({"more_variables": {"ToRGB_lod0/weight": np.zeros(1)}}, "a generator of configurations B to D"),
        (
            {"more_variables": {"LabelConcat/weight": np.zeros(1)}},
            "a conditional generator whose labels are normalised",
        ),
        ({"more_variables": {"16x16/Conv2/weight": np.zeros(1)}}, "'synthesis/16x16/Conv2/weight' and 0 more"),
        (
            {"more_variables": {"16x16/Conv1/weight": np.zeros(1)}},
            r"a variable 'synthesis/16x16/Conv1/weight' of shape \[1\]",
        ),
    ],
)
def test_another_generator_in_a_tensorflow_pickle_is_refused(
    tmp_path: Path, generator: GeneratorWeights, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(written(tmp_path / "network.pkl", tensorflow_pickle(generator, **options)))


def test_a_relative_is_named_wherever_it_lies_in_the_file(tmp_path: Path) -> None:
    dual = {"generator.generator.input.input": np.zeros(3), "encoder.0.0.weight": np.zeros(3)}
    state = torch_tensors(
        dual | {"fusion_out.0.conv.weight": np.zeros(3), "generator.res.0.norm.style.weight": np.zeros(3)}
    )
    wrapped = {f"module.{name}": value for name, value in state.items()}
    for content in (state, {"g_ema": wrapped, "d": {}}, {"meta": {"epoch": 1}, "state_dict": state}):
        path = saved(tmp_path / "vtoonify.pt", content)
        for read in (read_generator, read_encoder, read_isf):
            with pytest.raises(CheckpointError, match="a VToonify-D network, which redraws frames and takes no codes"):
                read(path)


def encoder_with(name: str, shape: tuple[int, ...] | None) -> dict[str, Any]:
    checkpoint = encoder_checkpoint()
    checkpoint["state_dict"].pop(f"encoder.{name}", None)
    if shape is not None:
        checkpoint["state_dict"][f"encoder.{name}"] = torch.zeros(shape)
    return checkpoint


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            lambda: encoder_with("input_layer.0.weight", (4, 6, 3, 3)),
            "a StyleGAN2 decoder of 8 rows of 8, expected a StyleGAN2 of 18 rows of 10, as the encoder gives",
        ),
        (lambda: encoder_with("input_layer.0.weight", (4, 1, 3, 3)), "an encoder of 1-channel pictures"),
        (lambda: encoder_with("latlayer1.weight", None), r"the tensor 'latlayer1\.bias', expected only those of the"),
        (lambda: encoder_checkpoint(opts={"encoder_type": "SingleStyleCodeEncoder"}), "type 'SingleStyleCodeEncoder'"),
        (lambda: encoder_checkpoint(opts={"z_plus_latent": True}), r"an encoder whose codes are Z\+"),
        (lambda: encoder_checkpoint(opts={}), "does not say whether it is pSp or e4e.*give --kind psp or --kind e4e"),
        (
            lambda: encoder_checkpoint(latent_avg=None),
            "a latent_avg of another form, .* the encoder's codes are offsets",
        ),
        (
            lambda: encoder_checkpoint(latent_avg=torch.zeros(14, 10)),
            r"a latent_avg of \[14, 10\], expected \[18, 10\]",
        ),
        (lambda: encoder_checkpoint(latent_avg=torch.full((10,), torch.nan)), "NaN or infinity in 'latent_avg'"),
        (lambda: encoder_with("body.5.res_layer.1.weight", None), r"no tensor 'body\.5\.res_layer\.1\.weight'"),
        (
            lambda: encoder_with("body.7.res_layer.3.weight", None),
            r"no tensor 'body\.7\.res_layer\.3\.weight' of a usable",
        ),
        (lambda: encoder_with("styles.17.convs.10.weight", None), r"no tensor 'styles\.17\.convs\.10\.weight'"),
        (
            lambda: encoder_with("styles.17.convs.12.weight", (1,)),
            r"the tensor 'styles\.17\.convs\.12\.weight', expected",
        ),
        (lambda: encoder_with("latlayer2.bias", (11,)), r"'latlayer2\.bias' of shape \[11\], expected \[10\]"),
    ],
)
def test_another_encoder_is_refused(tmp_path: Path, content: Callable[[], dict[str, Any]], sentence: str) -> None:
    path = saved(tmp_path / "encoder.pt", content())
    with pytest.raises(CheckpointError, match=sentence):
        read_encoder(path)


def test_a_kind_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "encoder.pt", encoder_checkpoint())
    with pytest.raises(CheckpointError, match="an encoder of kind e4e, expected psp"):
        read_encoder(path, kind="psp")


def test_an_encoder_without_decoder_is_no_generator(tmp_path: Path) -> None:
    checkpoint = encoder_checkpoint()
    state = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith("encoder.")}
    with pytest.raises(CheckpointError, match="an encoder without its decoder, expected a generator"):
        read_generator(saved(tmp_path / "encoder.pt", {**checkpoint, "state_dict": state}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("w_net.z_net.shared.0.weight"), "no MappingNetwork of ISF-GAN"),
        (without("w_net.fc.7.bias"), r"no tensor 'w_net\.fc\.7\.bias'"),
        (without("w_net.z_net.unshared.5.0.weight"), r"no tensor 'w_net\.z_net\.unshared\.5\.0\.weight'"),
        (with_tensor("w_net.extra", np.zeros(1)), r"the tensor 'w_net\.extra', expected only those of the ISF head"),
        (with_tensor("w_net.fc.7.bias", np.full(16, np.inf)), r"NaN or infinity in 'w_net\.fc\.7\.bias'"),
    ],
)
def test_another_isf_head_is_refused(tmp_path: Path, change: Callable[[State], State], sentence: str) -> None:
    path = saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(change(isf_state()))})
    with pytest.raises(CheckpointError, match=sentence):
        read_isf(path)


@pytest.mark.parametrize("names", [(), ("age", "age"), tuple(f"a{i}" for i in range(68))])
def test_attribute_names_that_cannot_be_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(isf_state())})
    with pytest.raises(CheckpointError, match="expected from 1 to 67 different names"):
        read_isf(path, names)


def test_a_neutral_file_of_another_version_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors", metadata={"format": "toonify-serve generator 2"})
    with pytest.raises(
        CheckpointError, match="the format 'toonify-serve generator 2', expected toonify-serve generator 1"
    ):
        read_generator(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "options", ["", "[]", '{"conv_clamp": null}', '{"conv_clamp": 1, "fp16_from": 5, "notes": []}', "[" * 100_000]
)
def test_a_neutral_file_with_damaged_metadata_is_refused(tmp_path: Path, options: str) -> None:
    tensors = dict(random_generator(8, 2, w_dim=4).tensors)
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "toonify-serve generator 1", "options": options})
    with pytest.raises(CheckpointError, match=r"damaged metadata|a generator of resolution 5"):
        read_generator(tmp_path / "a.safetensors")


def test_a_neutral_file_without_a_tensor_is_refused(tmp_path: Path, generator: GeneratorWeights) -> None:
    tensors = {name: array for name, array in generator.tensors.items() if name != "synthesis.4.const"}
    write_generator_safetensors(replace(generator, tensors=tensors), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"no tensor 'synthesis\.4\.const'"):
        read_generator(tmp_path / "a.safetensors")
