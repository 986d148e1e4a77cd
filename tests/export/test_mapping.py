"""The mapping network that is exported beside its generator."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import random_generator, random_sibling

from engines import engine_from_directory, read_manifest
from engines.contract.errors import ModelDirectoryError, VerificationError
from engines.contract.tensors import DType, Geometry, mapping_signature
from engines.matching import MAPPING, mapping_of
from engines.torch.engine import TorchEngine
from export import cli, selection
from export.build import build_generator
from export.checkpoints import write_generator_safetensors
from export.networks.generator import generator_from_weights
from export.repository_commands import sign
from export.targets import ExportOptions
from export.verification import Bound
from export.weights import GeneratorWeights

WEIGHTS = random_generator(32, mapping_depth=3)


def built(directory: Path, weights: GeneratorWeights = WEIGHTS, resolution: int | None = None) -> Path:
    options = ExportOptions(directory, "small", engine="onnxruntime", precision="fp32", licences=("CC0",))
    build_generator(weights, [("generator", weights.source)], options, lambda _: None, resolution=resolution)
    return directory


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("models") / "small")


def test_it_gives_the_codes_that_the_checkpoints_network_gives(generator: Path) -> None:
    z = np.random.default_rng(0).standard_normal((3, 16), np.float32)
    with torch.no_grad(), engine_from_directory(generator / MAPPING) as engine:
        w = engine.run({"z": z})["w"]
        expected = generator_from_weights(WEIGHTS).mapping(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(w, expected[:, None].repeat(8, 1), rtol=0, atol=1e-5)


def test_the_engine_for_gpus_computes_the_same(generator: Path) -> None:
    z = np.random.default_rng(0).standard_normal((3, 16), np.float32)
    signature = read_manifest(generator / MAPPING).signature
    with (
        engine_from_directory(generator / MAPPING) as engine,
        TorchEngine(generator / MAPPING / "mapping.onnx", signature, device="cpu") as on_torch,
    ):
        np.testing.assert_allclose(on_torch.run({"z": z})["w"], engine.run({"z": z})["w"], rtol=0, atol=1e-5)


def test_a_code_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    odd = built(tmp_path / "odd", random_generator(16, 4, w_dim=46, mapping_depth=8))
    z = np.random.default_rng(0).standard_normal((5, 46), np.float32)
    with engine_from_directory(odd / MAPPING) as engine:
        rows = [engine.run({"z": z[i : i + 1]})["w"] for i in range(5)]
        assert np.array_equal(engine.run({"z": z})["w"], np.concatenate(rows))


def test_the_length_of_z_does_not_matter(generator: Path) -> None:
    z = np.random.default_rng(0).standard_normal((1, 16), np.float32)
    with engine_from_directory(generator / MAPPING) as engine:
        np.testing.assert_allclose(engine.run({"z": 100 * z})["w"], engine.run({"z": z})["w"], rtol=0, atol=1e-5)


def test_its_manifest_names_the_generators_sources_and_its_error(generator: Path) -> None:
    manifest = read_manifest(generator / MAPPING)
    assert (manifest.component, manifest.name, manifest.precision) == ("mapping", "small", "fp32")
    assert manifest.sources == read_manifest(generator).sources
    assert manifest.signature == mapping_signature(Geometry(32, 16, z_dim=16))
    assert manifest.verification.bound == "PSNR >= 80 dB"


def test_that_of_a_cut_generator_has_all_rows(tmp_path: Path) -> None:
    built(tmp_path / "cut", resolution=16)
    assert read_manifest(tmp_path / "cut" / MAPPING).signature == mapping_signature(Geometry(16, 16, rows=8, z_dim=16))


def test_a_generator_without_one_is_exported_without(tmp_path: Path) -> None:
    tensors = {name: value for name, value in WEIGHTS.tensors.items() if not name.startswith("mapping.")}
    directory = built(tmp_path / "small", replace(WEIGHTS, tensors=tensors))
    assert mapping_of(directory) is None


def test_one_that_fails_verification_leaves_no_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = selection.bound_for
    monkeypatch.setattr(
        selection, "bound_for", lambda output, p: real(output, p) if output is DType.UINT8 else Bound(1000, -1)
    )
    with pytest.raises(VerificationError, match=r"mapping\.onnx in onnxruntime fp32"):
        built(tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_that_of_another_checkpoint_is_refused(generator: Path, tmp_path: Path) -> None:
    other = built(tmp_path / "other", random_sibling(WEIGHTS))
    shutil.rmtree(other / MAPPING)
    shutil.copytree(generator / MAPPING, other / MAPPING)
    with pytest.raises(ModelDirectoryError, match=r"other/mapping: got a mapping of generator-0\.pt, expected the map"):
        mapping_of(other)


def test_the_command_says_whether_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without = {name: value for name, value in WEIGHTS.tensors.items() if not name.startswith("mapping.")}
    write_generator_safetensors(WEIGHTS, tmp_path / "with.safetensors")
    write_generator_safetensors(replace(WEIGHTS, tensors=without), tmp_path / "without.safetensors")
    said = {}
    for name in ("with", "without"):
        arguments = ["generator", "--checkpoint", f"{tmp_path}/{name}.safetensors", "--output", f"{tmp_path}/{name}"]
        monkeypatch.setattr("sys.argv", ["toonify-export", *arguments, "--engine", "onnxruntime"])
        with pytest.raises(SystemExit):
            cli.main()
        said[name] = capsys.readouterr().out.splitlines()[-1]
    assert said["with"].startswith("  with its mapping network, for pictures of random faces: worst error ")
    assert said["without"] == (
        "  without a mapping network, which the checkpoint does not hold: no pictures of random faces"
    )


def test_a_signature_is_not_given_for_an_altered_one(generator: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(generator, altered)
    with (altered / MAPPING / "mapping.onnx").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelDirectoryError, match=r"mapping\.onnx: got a file with sha256"):
        sign(altered, tmp_path / "no key")
