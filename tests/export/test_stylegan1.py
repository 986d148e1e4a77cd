"""StyleGAN1: files of all layouts give the pictures of the official formula, in PyTorch and in the engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from stylegan1_files import W_DIM, genforce_file, interfacegan_file, tensorflow_file, variables
from stylegan1_formula import official_codes, official_picture, official_truncation

from engines import engine_from_onnx
from engines.contract.errors import BlendError, CheckpointError, EngineError, ExportError
from engines.contract.tensors import Geometry, generator_signature, mapping_signature
from engines.torch.engine import TorchEngine
from engines.winograd.engine import WinogradEngine
from export.blending import blend, schedule_from_options
from export.blending.live import live_parents
from export.checkpoints import describe, read_generator, write_generator_safetensors, write_rosinality
from export.cutting import cut_generator
from export.graphs.architectures import onnx_from_network
from export.graphs.mapping import onnx_from_mapping
from export.networks.architectures import network_from_weights
from export.networks.generator import generator_from_weights
from export.weights import GeneratorWeights

pytestmark = pytest.mark.usefixtures("no_gradients")

VARIABLES = variables()
SIBLING = {
    name: array if "noise" in name or "lod" in name or "mapping" in name else array + np.float32(0.2) * other
    for (name, array), other in zip(VARIABLES.items(), variables("transfer").values(), strict=True)
}
RNG = np.random.default_rng(0)
W = RNG.standard_normal((2, 12, W_DIM))
SIGNATURE = generator_signature(Geometry(128, W_DIM))

Doubles = NDArray[np.float64]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> GeneratorWeights:
    return read_generator(tensorflow_file(tmp_path_factory.mktemp("base") / "network.pkl", VARIABLES))


@pytest.fixture(scope="module")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> GeneratorWeights:
    return read_generator(tensorflow_file(tmp_path_factory.mktemp("sibling") / "network.pkl", SIBLING))


@pytest.fixture(scope="module")
def expected() -> Doubles:
    return official_picture(VARIABLES, W)


@pytest.fixture(scope="module")
def model(weights: GeneratorWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "generator.onnx"
    onnx.save(onnx_from_network(network_from_weights(weights), SIGNATURE), path)
    onnx.checker.check_model(path, full_check=True)
    return path


def picture(weights: GeneratorWeights, w: Doubles = W) -> Doubles:
    result: Doubles = network_from_weights(weights).double().synthesise(torch.from_numpy(w)).numpy()
    return result


def levels(image: Doubles) -> NDArray[np.int16]:
    """Pictures as the official tools show them, [N, R, R, 3]."""
    return np.clip(image.transpose(0, 2, 3, 1) * 127.5 + 128, 0, 255).astype(np.uint8).astype(np.int16)


@pytest.mark.parametrize("write", [tensorflow_file, genforce_file, interfacegan_file])
def test_a_file_of_any_layout_gives_the_pictures_of_the_official_formula(
    tmp_path: Path, expected: Doubles, write: Callable[..., Path]
) -> None:
    weights = read_generator(write(tmp_path / "network.pkl", VARIABLES))
    np.testing.assert_allclose(picture(weights), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("fused_scale", "fused_from"), [(True, 8), (False, 256)])
def test_the_recorded_form_of_upsampling_is_followed(tmp_path: Path, fused_scale: bool, fused_from: int) -> None:
    weights = read_generator(tensorflow_file(tmp_path / "network.pkl", VARIABLES, fused_scale=fused_scale))
    expected = official_picture(VARIABLES, W[:1], fused_from=fused_from)
    np.testing.assert_allclose(picture(weights, W[:1]), expected, rtol=0, atol=1e-5)


def test_the_mapping_network_gives_the_official_codes(weights: GeneratorWeights, tmp_path: Path) -> None:
    z = RNG.standard_normal((3, W_DIM))
    expected = official_codes(VARIABLES, z)
    network = network_from_weights(weights)
    np.testing.assert_allclose(network.double().mapping(torch.from_numpy(z)).numpy(), expected, rtol=0, atol=1e-7)
    signature = mapping_signature(Geometry(128, W_DIM, z_dim=W_DIM))
    onnx.save(onnx_from_mapping(network_from_weights(weights).mapping, signature), tmp_path / "mapping.onnx")
    with engine_from_onnx(tmp_path / "mapping.onnx", signature, "onnxruntime", "fp32") as engine:
        codes = engine.run({"z": z.astype(np.float32)})["w"]
    np.testing.assert_allclose(codes, expected[:, None].repeat(12, 1), rtol=0, atol=1e-5)


def test_truncation_changes_the_first_eight_rows_only(weights: GeneratorWeights) -> None:
    psi = torch.tensor([[0.7], [1.0]]).double()
    got = network_from_weights(weights).double()(torch.from_numpy(W), psi).numpy()
    truncated = np.concatenate([official_truncation(VARIABLES, W[:1], 0.7), W[1:]])
    np.testing.assert_allclose(got, official_picture(VARIABLES, truncated), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_an_engine_gives_the_levels_of_the_official_formula(model: Path, name: str) -> None:
    psi = np.float32([[0.7], [1.0]])
    truncated = np.concatenate([official_truncation(VARIABLES, W[:1], 0.7), W[1:]])
    engine = (
        TorchEngine(model, SIGNATURE, device="cpu")
        if name == "torch"
        else engine_from_onnx(model, SIGNATURE, "openvino" if name == "openvino" else "onnxruntime", "fp32")
    )
    with engine:
        got = engine.run({"w": W.astype(np.float32), "psi": psi})["image"]
    difference = np.abs(got - levels(official_picture(VARIABLES, truncated)))
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def test_the_engine_that_knows_only_stylegan2_says_so(model: Path) -> None:
    with pytest.raises(EngineError, match=r"as a generator: got a graph without .*, expected StyleGAN2 with skip"):
        WinogradEngine(model, SIGNATURE)


@pytest.mark.parametrize("r_swap", [8, 64])
def test_a_blend_takes_whole_layers_by_resolution(
    weights: GeneratorWeights, sibling: GeneratorWeights, r_swap: int
) -> None:
    def from_transfer(name: str) -> bool:
        if "noise" in name or not name.startswith("synthesis/"):
            return False
        return "ToRGB" not in name and "x" in name and int(name.split("/")[1].split("x")[0]) <= r_swap

    mixed = {name: SIBLING[name] if from_transfer(name) else array for name, array in VARIABLES.items()}
    result = blend([weights, sibling], schedule_from_options(128, r_swap=r_swap))
    np.testing.assert_allclose(picture(result.weights), official_picture(mixed, W), rtol=0, atol=1e-5)
    assert [str(group) for group in result.report.shares] == [
        *(f"{r}.{part}" for r in (4, 8, 16, 32, 64, 128) for part in ("up", "conv")), "128.rgb",
    ]  # fmt: skip


def test_a_mix_of_architectures_is_refused(weights: GeneratorWeights) -> None:
    from generators import random_generator

    second = random_generator(128, 4, w_dim=W_DIM)
    with pytest.raises(BlendError, match="got a StyleGAN1 and a StyleGAN2, expected two generators of one arch"):
        blend([weights, second], schedule_from_options(128, r_swap=8))


@pytest.mark.parametrize(
    "options", [{"schedule": "per-row:" + ",".join(["1"] * 12)}, {"compat": "pinkney", "r_swap": 16}]
)
def test_schedules_of_stylegan2s_layers_are_refused(
    weights: GeneratorWeights, sibling: GeneratorWeights, options: dict[str, str | int]
) -> None:
    schedule = schedule_from_options(128, **options)  # type: ignore[arg-type]
    with pytest.raises(BlendError, match="got StyleGAN1 generators, expected StyleGAN2 generators, of whose layers"):
        blend([weights, sibling], schedule)


def test_what_needs_stylegan2_refuses_it(weights: GeneratorWeights, sibling: GeneratorWeights, tmp_path: Path) -> None:
    schedule = schedule_from_options(128, r_swap=8)
    with pytest.raises(BlendError, match="--live: got StyleGAN1 generators, expected StyleGAN2 generators"):
        live_parents([weights, sibling], schedule, blend([weights, sibling], schedule))
    with pytest.raises(ExportError, match="--resolution: got 64, expected one of 128, the sizes of this generator"):
        cut_generator(weights, 64)
    with pytest.raises(CheckpointError, match=r"got a StyleGAN1 generator, expected a StyleGAN2 generator, .* names"):
        write_rosinality(weights, tmp_path / "generator.pt")
    with pytest.raises(ExportError, match="got a StyleGAN1 generator, expected a StyleGAN2 generator"):
        generator_from_weights(weights)
    assert [*tmp_path.iterdir()] == []


def test_an_isf_head_edits_its_codes(weights: GeneratorWeights, model: Path) -> None:
    torch.manual_seed(0)
    from export.networks.isf import Isf

    isf = Isf(2, 6, W_DIM, 12, "adaln", pre_norm=True, residual=False).eval()
    edited = isf.edit(torch.from_numpy(W).float(), torch.randn(2, 6), torch.tensor([[0.0, 1], [1, 0]])).numpy()
    with engine_from_onnx(model, SIGNATURE, "onnxruntime", "fp32") as engine:
        got = engine.run({"w": edited, "psi": np.ones((2, 1), np.float32)})["image"]
    assert np.abs(got - levels(official_picture(VARIABLES, edited.astype(float)))).max() <= 1


def test_the_package_own_format_keeps_it(weights: GeneratorWeights, tmp_path: Path) -> None:
    write_generator_safetensors(weights, tmp_path / "generator.safetensors")
    again = read_generator(tmp_path / "generator.safetensors")
    assert again.tensors.keys() == weights.tensors.keys()
    assert all(np.array_equal(again.tensors[name], value) for name, value in weights.tensors.items())


def test_inspect_describes_it_and_names_what_was_left_out(tmp_path: Path) -> None:
    report = describe(tensorflow_file(tmp_path / "network.pkl", VARIABLES))
    assert (report.format, report.architecture) == (
        "TensorFlow StyleGAN1 (pickle)",
        "StyleGAN1, adaptive instance normalisation",
    )
    assert (report.resolution, report.rows, report.mapping_depth, report.noise) == (128, 12, 3, "stored")
    growing = "toRGB of lower resolutions, which only progressive growing uses"
    assert [line.split(".")[-1] for line in report.left_out] == [
        f"ToRGB_lod*/weight (5 tensors): {growing}",
        f"ToRGB_lod*/bias (5 tensors): {growing}",
    ]
    lines = describe(genforce_file(tmp_path / "genforce.pth", VARIABLES)).left_out
    assert lines[1:] == (
        "discriminator (1 tensor): the discriminator, which only training needs",
        f"generator_smooth.synthesis.output* (10 tensors): {growing}",
    )
    assert lines[0].endswith("tensors): the weights of the last step; their running average is used")


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"mapping/LabelConcat/weight": np.ones((3, W_DIM))}, {}, "a conditional StyleGAN1 generator"),
        ({"synthesis/lod": np.float32(1.5)}, {}, "middle of progressive growing, with a level of detail of 1.5"),
        ({"lod": np.float32(2)}, {}, "middle of progressive growing, with a level of detail of 2"),
        ({}, {"blur_filter": None}, "the option blur_filter = None, expected StyleGAN1"),
        ({}, {"use_pixel_norm": True}, "the option use_pixel_norm = True"),
        ({}, {"mapping_lrmul": 1.0}, r"the option mapping_lrmul = 1\.0"),
        ({"synthesis/4x4/Const/const": None}, {}, "no tensor 'synthesis/4x4/Const/const'"),
        ({"synthesis/8x8/Conv1/bias": np.zeros(4)}, {}, r"'synthesis\.8\.up\.weight' of shape \[5, 5, 3, 3\]"),
        ({"synthesis/8x8/Conv1/StyleMod/bias": np.zeros(())}, {}, r"'synthesis\.8\.conv\.affine\.bias' of shape \[\]"),
        ({"synthesis/8x8/Conv2/bias": np.zeros(4)}, {}, "'synthesis/8x8/Conv2/bias' and 0 more that StyleGAN1 does"),
        ({"synthesis/noise12": np.zeros((1, 1, 256, 256))}, {}, "'synthesis/noise12' and 0 more"),
        ({"synthesis/16x16/Conv1/bias": np.full(4, np.nan)}, {}, r"NaN or infinity in 'synthesis\.16\.conv\.bias'"),
    ],
)
def test_another_network_is_refused(
    tmp_path: Path, changes: dict[str, NDArray[np.float64] | None], options: dict[str, object], sentence: str
) -> None:
    changed = {name: array for name, array in {**VARIABLES, **changes}.items() if array is not None}
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(tensorflow_file(tmp_path / "network.pkl", changed, **options))


def test_another_filter_is_refused(tmp_path: Path) -> None:
    path = genforce_file(tmp_path / "network.pth", VARIABLES)
    content = torch.load(path)
    content["generator_smooth"]["synthesis.layer2.blur.kernel"] += 1
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"a filter 'synthesis\.layer2\.blur\.kernel' other than \[1, 2, 1\]"):
        read_generator(path)


def test_weights_of_the_last_step_are_noted(tmp_path: Path) -> None:
    content = torch.load(genforce_file(tmp_path / "network.pth", VARIABLES))
    torch.save({"generator": content["generator_smooth"]}, tmp_path / "network.pth")
    assert read_generator(tmp_path / "network.pth").notes == (
        "the weights of 'generator', which are not the running average",
    )
