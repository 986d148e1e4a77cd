"""Model directories: they are complete and verified, or absent, and are refused if altered."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import random_generator
from isf_heads import ATTRIBUTES, head

from engines import engine_from_directory, read_manifest
from engines.contract.errors import EngineError, ExportError, ModelDirectoryError, VerificationError
from engines.contract.tensors import DType, Geometry, isf_signature
from engines.loading import Target
from engines.model_directory import MANIFEST, Verification
from export import directory, selection, targets
from export.build import build_generator, build_isf
from export.targets import ExportOptions
from export.verification import Bound, Sample, bound_for, verify
from export.weights import IsfWeights, Source

WEIGHTS = random_generator(16)


def silent(_: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "small"
    output = ExportOptions(directory, "small", precision="fp32", licences=("CC0",))
    build_generator(WEIGHTS, [("generator", WEIGHTS.source)], output, silent, details={"blend": {"r_swap": 8}})
    return directory


def test_the_manifest_says_what_the_model_is_and_how_it_was_verified(built: Path) -> None:
    manifest = read_manifest(built)
    assert (manifest.component, manifest.name, manifest.sizes.resolution) == ("generator", "small", 16)
    assert manifest.files.keys() == {"generator.onnx"}
    assert manifest.sources[0].licence == "CC0"
    assert manifest.details["blend"] == {"r_swap": 8}
    assert manifest.verification.worst <= 1
    tried = {(c["engine"], c["precision"]) for c in manifest.details["engines_tried"]}
    assert tried == {("onnxruntime", "fp32"), ("openvino", "fp32"), ("winograd", "fp32")}


def test_a_source_file_whose_name_is_not_utf_8_is_named_in_the_manifest(tmp_path: Path) -> None:
    source = replace(WEIGHTS.source, path=tmp_path / os.fsdecode(b"\xff.pt"))
    output = ExportOptions(tmp_path / "small", "small", engine="onnxruntime", precision="fp32")
    build_generator(WEIGHTS, [("generator", source)], output, silent)
    assert read_manifest(tmp_path / "small").sources[0].file == r"\xff.pt"


def test_a_built_directory_runs(built: Path) -> None:
    with engine_from_directory(built) as engine:
        inputs = {spec.name: np.zeros((2, *spec.dims), np.float32) for spec in engine.signature.inputs}
        assert engine.run(inputs)["image"].shape == (2, 16, 16, 3)


def test_an_altered_file_is_refused(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "generator.onnx").open("r+b") as file:
        file.write(b"\0")
    with pytest.raises(
        ModelDirectoryError, match=r"generator\.onnx: got a file with sha256 \w+, expected the file with"
    ):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 99}, "got schema version 99, expected 1"),
        ({"component": "unknown"}, "at component, expected a manifest of schema version 1"),
        ({"files": {"../x": "0"}}, r"got the file name '\.\./x'"),
        ({"files": {"absent.onnx": "0"}}, r"absent\.onnx: got no such file"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    built: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    manifest = json.loads((built / MANIFEST).read_text())
    if "files" in change:
        change = {"files": {**manifest["files"], **change["files"]}}
        for name in manifest["files"]:
            (tmp_path / name).symlink_to(built / name)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(ModelDirectoryError, match=sentence):
        read_manifest(tmp_path)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=r"got no manifest\.json, expected a model directory"):
        read_manifest(tmp_path)


def test_an_existing_output_is_kept_and_refused_before_any_work(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "reference_samples", lambda *_: pytest.fail("the reference was run"))
    with pytest.raises(ExportError, match=r"already there.*--force"):
        build_generator(WEIGHTS, [], ExportOptions(built, "small"), silent)


def test_a_failed_verification_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "bound_for", lambda *_: Bound(psnr=1000, worst=-1))
    with pytest.raises(VerificationError, match=r"got worst error .* against the reference, expected PSNR >= 1000 dB"):
        build_generator(WEIGHTS, [], ExportOptions(tmp_path / "model", "small"), silent)
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_no_engine_offers_is_refused() -> None:
    with pytest.raises(EngineError, match="--engine onnxruntime --precision bf16: got onnxruntime fp32 on"):
        targets.candidates_for("generator", "cpu", "onnxruntime", "bf16")


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["torch-cuda", "onnxruntime-cuda"])
def test_an_export_for_a_gpu_is_verified_on_it(tmp_path: Path, target: Target) -> None:
    try:
        targets.candidates_for("generator", target, "auto", "auto")
    except EngineError as error:
        pytest.skip(str(error))
    build_generator(
        WEIGHTS, [("generator", WEIGHTS.source)], ExportOptions(tmp_path / "small", "small", target), silent
    )
    with engine_from_directory(tmp_path / "small") as engine:
        inputs = {spec.name: np.zeros((2, *spec.dims), np.float32) for spec in engine.signature.inputs}
        assert engine.run(inputs)["image"].shape == (2, 16, 16, 3)


def test_licences_must_be_one_for_each_source(tmp_path: Path) -> None:
    output = ExportOptions(tmp_path / "model", "small", licences=("CC0", "MIT"))
    with pytest.raises(ExportError, match="--source-licence: got 2 licences, expected 1, for "):
        build_generator(WEIGHTS, [("generator", WEIGHTS.source)], output, silent)


def test_a_name_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--name: got 'a/b', expected letters, digits"):
        ExportOptions(tmp_path, "a/b")


def isf_weights(heads: int) -> IsfWeights:
    tensors = {name: value.numpy() for name, value in head(heads=heads).state_dict().items()}
    return IsfWeights(tensors, Source(Path("head.ckpt"), "isf", "0"), ATTRIBUTES)


def test_a_head_on_w_needs_a_resolution_and_then_edits_every_row(tmp_path: Path) -> None:
    output = ExportOptions(tmp_path / "isf", "isf", engine="onnxruntime")
    with pytest.raises(ExportError, match="got a head on W, which fits any generator, expected a resolution"):
        build_isf(isf_weights(1), output, silent)
    manifest = build_isf(isf_weights(1), output, silent, resolution=64)
    assert manifest.signature == isf_signature(Geometry(64, 24, ATTRIBUTES, 6))


def test_a_resolution_that_contradicts_the_heads_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="got 8 rows, which is resolution 32, expected the 18 rows"):
        build_isf(isf_weights(8), ExportOptions(tmp_path / "isf", "isf"), silent, resolution=1024)


class Constant:
    """An engine with a constant output."""

    def __init__(self, answer: np.ndarray) -> None:
        self.signature = replace(isf_signature(Geometry(8, 4, ("a",), 2)), inputs=())
        self.answer = answer

    def run(self, inputs: object) -> dict[str, np.ndarray]:
        return {"w_edited": self.answer}


def verification_of(got: list[float], expected: list[float]) -> Verification:
    sample = Sample({}, np.float32(expected))
    return verify(Constant(np.float32(got)), [sample], "one", bound_for(DType.FLOAT32, "fp32"))


def test_errors_are_measured_against_the_references_range() -> None:
    verification = verification_of([0, 1, 2, 4.5], [0, 1, 2, 4])
    assert (verification.worst, verification.mean) == (0.5, 0.125)
    assert verification.psnr == pytest.approx(10 * np.log10(4**2 / (0.5**2 / 4)))
    assert verification_of([1, 2], [1, 2]).psnr is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_not_finite_never_passes(bad: float) -> None:
    assert not bound_for(DType.FLOAT32, "bf16").holds(verification_of([bad, 1], [0, 1]))
