"""``--target tensorrt`` and ``plans`` without TensorRT: ONNX Runtime replaces the plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from generators import random_generator
from tiny_models import write_encoder, write_generator, write_isf, write_mapping

from engines import engine_from_directory, engine_from_onnx, loading, read_manifest
from engines.contract.errors import EngineError, VerificationError
from engines.matching import mapping_of
from engines.model_directory import MANIFEST, write_manifest
from engines.plan_metadata import PlanMetadata, Platform
from engines.tensorrt import loading as tensorrt_loading
from engines.tensorrt.options import PlanOptions
from export import plans, selection, targets
from export.build import build_generator
from export.plans import rebuild_plans
from export.targets import ExportOptions

HERE = Platform(tensorrt="11.4.0.106", gpu="NVIDIA L4", capability=89)


class FakePlanBuilder:
    """A fake of ``engines.tensorrt.build`` that writes dummy plans and records its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def plans_of(
        self, model: Path, signature: object, precision: str, report: object, options: PlanOptions
    ) -> PlanMetadata:
        self.calls.append((model.name, precision, options))
        names = {batch: f"{model.stem}.b{batch}.plan" for batch in (1, 4, 8)}
        if options.one_plan:
            names = dict.fromkeys(names, f"{model.stem}.plan")
        for name in set(names.values()):
            (model.parent / name).write_bytes(b"a plan")
        return PlanMetadata(platform=HERE, compatibility="none", plugins=17, kernel_capability=89, plans=names)


@pytest.fixture
def plan_builder(monkeypatch: pytest.MonkeyPatch) -> FakePlanBuilder:
    """A machine with TensorRT, whose plans compute what the ONNX file says."""
    plan_builder = FakePlanBuilder()
    monkeypatch.setattr(plans, "plans_of", plan_builder.plans_of)
    monkeypatch.setattr("export.directory.plans_of", plan_builder.plans_of)
    monkeypatch.setattr(targets, "is_installed", lambda engine: True)
    monkeypatch.setattr(tensorrt_loading, "current_platform", lambda: HERE)

    def loaded(model: Path, signature: Any, engine: str, precision: str, *, plans: PlanMetadata | None) -> Any:
        assert engine == "tensorrt"
        assert plans is not None
        return engine_from_onnx(model, signature, "onnxruntime")

    monkeypatch.setattr(selection, "engine_from_onnx", loaded)
    return plan_builder


def silent(phrase: str) -> None:
    pass


def test_an_export_builds_plans_in_half_precision_and_names_them(tmp_path: Path, plan_builder: FakePlanBuilder) -> None:
    weights = random_generator(16, 8)
    output = ExportOptions(tmp_path / "small", "small", "tensorrt", plans=PlanOptions(plugins=False))
    build_generator(weights, [("generator", weights.source)], output, silent)
    manifest = read_manifest(tmp_path / "small")
    networks = [("generator.onnx", "fp16"), ("mapping.onnx", "fp32")]
    assert plan_builder.calls == [(*network, PlanOptions(plugins=False)) for network in networks]
    assert (manifest.engine, manifest.precision) == ("tensorrt", "fp16")
    assert manifest.plans is not None
    assert {*manifest.plans.plans.values(), "generator.onnx"} == manifest.files.keys()
    assert manifest.plans.platform == HERE


@pytest.mark.parametrize(("write", "precision"), [(write_encoder, "fp16"), (write_isf, "fp32")])
def test_a_model_directory_gets_plans_for_this_machine(
    tmp_path: Path, plan_builder: FakePlanBuilder, write: Any, precision: str
) -> None:
    directory = write(tmp_path / "model")
    before = read_manifest(directory)
    rebuild_plans(directory, silent, PlanOptions(compatibility="ampere_plus"))
    after = read_manifest(directory)
    assert (after.engine, after.precision, after.files.items() >= before.files.items()) == ("tensorrt", precision, True)
    assert plan_builder.calls[0][2].compatibility == "ampere_plus"
    assert len(list(directory.glob("*.plan"))) == 3
    assert rebuild_plans(directory, silent, PlanOptions()).files == after.files


def test_the_plans_of_a_generator_include_those_of_its_mapping_network(
    tmp_path: Path, plan_builder: FakePlanBuilder
) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    mapping = write_mapping(directory)
    rebuild_plans(directory, silent, PlanOptions())
    assert [call[:2] for call in plan_builder.calls] == [("generator.onnx", "fp16"), ("mapping.onnx", "fp32")]
    assert read_manifest(mapping).engine == "tensorrt"
    assert mapping_of(directory) == mapping


def test_one_plan_takes_the_place_of_several_and_has_the_name_that_tritons_backend_looks_for(
    tmp_path: Path, plan_builder: FakePlanBuilder
) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    rebuild_plans(directory, silent, PlanOptions())
    manifest = rebuild_plans(directory, silent, PlanOptions(one_plan=True))
    assert manifest.plans is not None
    assert manifest.plans.plans == dict.fromkeys((1, 4, 8), "generator.plan")
    assert [path.name for path in directory.glob("*.plan")] == ["generator.plan"]
    assert "in batches of 1, 3 and 6" in manifest.verification.inputs


def test_plans_that_are_wrong_leave_the_directory_as_it_was(
    tmp_path: Path, plan_builder: FakePlanBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    before = (directory / MANIFEST).read_bytes()
    inverse = write_generator(tmp_path / "other", "inverse") / "generator.onnx"
    wrong = engine_from_onnx(inverse, read_manifest(directory).signature, "onnxruntime")
    monkeypatch.setattr(selection, "engine_from_onnx", lambda *arguments, **options: wrong)
    with pytest.raises(VerificationError, match=r"generator\.onnx in tensorrt fp16: got .* against the reference"):
        rebuild_plans(directory, silent, PlanOptions())
    assert (directory / MANIFEST).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]
    assert not list(directory.glob("*.plan"))


def test_plans_of_another_machine_are_refused_with_the_command(
    tmp_path: Path, plan_builder: FakePlanBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    rebuild_plans(directory, silent, PlanOptions())
    monkeypatch.setattr(loading, "is_installed", lambda engine: True)
    monkeypatch.setattr(
        tensorrt_loading, "current_platform", lambda: HERE.model_copy(update={"tensorrt": "10.16.1.11"})
    )
    with pytest.raises(EngineError, match=r"got TensorRT 11.* on NVIDIA L4 .*: toonify-export plans .*/model"):
        engine_from_directory(directory)


def test_a_manifest_without_plans_is_refused_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    write_manifest(directory, read_manifest(directory).model_copy(update={"engine": "tensorrt"}))
    with pytest.raises(EngineError, match=r"engine tensorrt: got no such library.*toonify-serve\[tensorrt\]"):
        engine_from_directory(directory)
    monkeypatch.setattr(loading, "is_installed", lambda engine: True)
    with pytest.raises(EngineError, match=r"got no plans, .*: toonify-export plans"):
        engine_from_directory(directory)
