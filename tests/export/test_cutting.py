"""Generators without their highest layers, which give partial sums of the full one, and light encoders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from generators import random_generator

from engines import engine_from_directory, engine_from_onnx, read_manifest
from engines.contract.errors import ExportError
from engines.contract.tensors import Geometry, generator_signature
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.tensorrt.graph import graph_of_native_layers
from engines.torch.engine import TorchEngine
from export import build
from export.build import build_encoder, build_generator
from export.cutting import cut_generator, cut_parity, light_encoder
from export.graphs.generator import onnx_from_generator
from export.networks.encoder import encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.options import print_result
from export.parity import parity
from export.random_weights import random_encoder
from export.targets import ExportOptions

WEIGHTS = random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5})
SIGNATURE = generator_signature(Geometry(16, 16, rows=8))
CODES = np.random.default_rng(0).standard_normal((2, 8, 16), dtype=np.float32)


@pytest.fixture
def cut() -> Generator:
    return generator_from_weights(cut_generator(WEIGHTS, 16))


def test_a_cut_generator_gives_the_sum_that_the_whole_one_adds_to(cut: Generator) -> None:
    whole = generator_from_weights(WEIGHTS)
    block = dict(whole.blocks)[32]
    torch.nn.init.zeros_(block.rgb.weight)
    torch.nn.init.zeros_(block.rgb.bias)
    w = torch.from_numpy(CODES)
    with torch.no_grad():
        doubled = torch.nn.functional.conv_transpose2d(cut.synthesise(w), block.rgb.fir, stride=2, padding=1, groups=3)
        torch.testing.assert_close(whole.synthesise(w), doubled)


def test_rows_of_layers_left_out_change_nothing(cut: Generator) -> None:
    changed = CODES.copy()
    changed[:, 6:] += 1
    with torch.no_grad():
        assert torch.equal(cut.synthesise(torch.from_numpy(changed)), cut.synthesise(torch.from_numpy(CODES)))


def test_a_generator_that_was_not_cut_has_no_error() -> None:
    whole = generator_from_weights(WEIGHTS)
    assert cut_parity(whole, whole, CODES).worst == 0


def test_a_cut_is_compared_with_averages_of_areas(cut: Generator) -> None:
    whole = generator_from_weights(WEIGHTS)
    with torch.no_grad():
        shrunk, small = whole.synthesise(torch.from_numpy(CODES)).clamp(-1, 1), cut.synthesise(torch.from_numpy(CODES))
    error = shrunk.reshape(2, 3, 16, 2, 16, 2).mean((3, 5)) - small.clamp(-1, 1)
    # Levels are truncated: each of the two pictures is up to one level off.
    assert cut_parity(cut, whole, CODES).mean == pytest.approx(127.5 * float(error.abs().mean()), abs=1)


def test_a_size_that_the_generator_does_not_have_is_refused() -> None:
    with pytest.raises(ExportError, match="--resolution: got 64, expected one of 4, 8, 16, 32, the sizes of this"):
        cut_generator(WEIGHTS, 64)


def test_the_manifest_states_how_the_generator_was_cut(tmp_path: Path) -> None:
    output = ExportOptions(tmp_path / "small", "small", precision="fp32", engine="onnxruntime")
    sources = [("generator", WEIGHTS.source)]
    manifest = build_generator(WEIGHTS, sources, output, lambda stage: None, resolution=16)
    assert (manifest.sizes.resolution, manifest.sizes.rows) == (16, 8)
    assert manifest.details["cut"].keys() == {"from", "psnr", "mean"}
    assert manifest.details["channels"] == {"4": 12, "8": 10, "16": 7}
    with engine_from_directory(output.directory) as engine:
        assert engine.signature == SIGNATURE


def test_equal_pictures_of_a_cut_generator_are_told_in_json_and_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "cut_parity", lambda *_: parity(np.zeros(4, np.uint8), np.zeros(4, np.uint8)))
    options = ExportOptions(tmp_path / "cut", "cut", engine="onnxruntime", precision="fp32")
    build_generator(random_generator(64, w_dim=16), [], options, lambda _: None, resolution=32)
    manifest = read_manifest(tmp_path / "cut")
    print_result(tmp_path / "cut", manifest, as_json=True)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["details"]["cut"]["psnr"] is None
    print_result(tmp_path / "cut", manifest, as_json=False)
    assert "against pictures of 64x64, shrunk: mean error 0, equal" in capsys.readouterr().out


def test_a_light_encoder_gives_the_first_rows_of_the_whole_ones_codes(tmp_path: Path) -> None:
    weights = random_encoder((8, 12, 16, 24), 0, latent_avg=np.ones((10, 16), np.float32))
    whole, light = encoder_from_weights(weights), encoder_from_weights(light_encoder(weights))
    faces = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(light(faces), whole(faces)[:, :7])
    output = ExportOptions(tmp_path / "light", "light", precision="fp32", engine="onnxruntime")
    manifest = build_encoder(weights, output, lambda stage: None, light=True)
    assert (manifest.sizes.resolution, manifest.sizes.rows) == (64, 7)
    graph = onnx.load(tmp_path / "light/encoder.onnx").graph
    levels = {value.name.split(".")[0] for value in graph.initializer if "latlayer" in value.name}
    assert levels == {"latlayer1"}, "the finest level is not exported"


def test_every_engine_takes_the_rows_of_the_whole_generator(cut: Generator, tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    onnx.save(onnx_from_generator(cut, SIGNATURE), path)
    inputs = {"w": CODES, "psi": np.ones((2, 1), np.float32)}
    with engine_from_onnx(path, SIGNATURE, "onnxruntime") as engine:
        expected = engine.run(inputs)["image"].astype(int)
    plan = tmp_path / "plan.onnx"
    onnx.save(graph_of_native_layers(generator_weights_from_graph(read_graph(path)), SIGNATURE, None), plan)
    with (
        engine_from_onnx(path, SIGNATURE, "openvino") as openvino,
        TorchEngine(path, SIGNATURE, device="cpu") as native,
        engine_from_onnx(plan, SIGNATURE, "onnxruntime") as tensorrt,
    ):
        for other in (openvino, native, tensorrt):
            error = np.abs(other.run(inputs)["image"] - expected)
            assert error.max() <= 1  # levels at an edge between two
            assert error.mean() < 0.1
