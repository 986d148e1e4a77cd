"""``--target tensorrt-rtx`` and ``verify``: real parser and builder, and a stand-in for the GPU where one is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import random_generator
from isf_heads import ATTRIBUTES, head
from stand_in_gpu import StandInGpu, machine_with
from tiny_models import TinyModels, write_generator, write_mapping

from engines import engine_from_directory, read_manifest
from engines.contract.errors import EngineError, ExportError, VerificationError
from engines.hashed_files import sha256_of
from engines.matching import MAPPING, mapping_of
from engines.model_directory import MANIFEST, Manifest, write_manifest
from engines.rtx_metadata import CAPABILITIES, Gpu, RtxMetadata
from engines.tensorrt.options import PlanOptions
from engines.tensorrt_rtx.build import build_engine
from engines.tensorrt_rtx.loading import usable_gpu
from export import cli, plans, rtx
from export.build import build_classifier, build_generator, build_isf
from export.checkpoints import read_classifier
from export.demo_models.files import DemoFiles
from export.plans import rebuild_plans
from export.rtx import verify_directory
from export.targets import ExportOptions
from export.verification import Bound
from export.weights import IsfWeights, Source
from serving import doctor
from serving.triton.repository import write_repository

UNVERIFIED = "the engine was built, not verified on a GPU"

pytestmark = pytest.mark.skipif(
    find_spec("tensorrt_rtx_libs") is None, reason="TensorRT for RTX has packages for Linux on x86-64 only"
)


@pytest.fixture(scope="module")
def library() -> Any:
    import tensorrt_rtx_bindings

    return tensorrt_rtx_bindings


@pytest.fixture
def gpu(library: Any) -> Iterator[StandInGpu]:
    with machine_with(StandInGpu(), library) as gpu:
        yield gpu


def silent(phrase: str) -> None:
    pass


def export_generator(directory: Path, mapping_depth: int = 0) -> Manifest:
    weights = random_generator(16, 8, mapping_depth=mapping_depth)
    options = ExportOptions(directory, "small", "tensorrt-rtx")
    return build_generator(weights, [("generator", weights.source)], options, silent)


def export_classifier(directory: Path) -> Manifest:
    return build_classifier(
        read_classifier(DemoFiles().isf), ExportOptions(directory, "classifier", "tensorrt-rtx"), silent
    )


def export_isf(directory: Path) -> Manifest:
    tensors = {name: value.numpy() for name, value in head().state_dict().items()}
    weights = IsfWeights(tensors, Source(Path("head.ckpt"), "isf", "0"), ATTRIBUTES)
    return build_isf(weights, ExportOptions(directory, "isf", "tensorrt-rtx", precision="fp32"), silent)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, library: Any) -> Path:
    """A generator that was exported without a GPU."""
    directory = tmp_path_factory.mktemp("exported") / "small"
    export_generator(directory)
    return directory


@pytest.fixture
def directory(exported: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "small"
    copy.mkdir()
    for path in exported.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize(
    ("export", "precision"), [(export_generator, "fp16"), (export_classifier, "fp16"), (export_isf, "fp32")]
)
def test_an_export_without_a_gpu_builds_an_engine_and_says_that_it_was_not_verified(
    tmp_path: Path, library: Any, export: Callable[[Path], Manifest], precision: str
) -> None:
    export(tmp_path / "model")
    manifest = read_manifest(tmp_path / "model")
    name = f"{manifest.component}.rtx"
    assert (manifest.engine, manifest.precision) == ("tensorrt-rtx", precision)
    assert manifest.plans == RtxMetadata(version=library.__version__, capabilities=CAPABILITIES, file=name)
    assert manifest.is_unverified
    assert json.loads((tmp_path / "model" / MANIFEST).read_text())["plans"]["verified_on"] is None
    assert manifest.files.keys() == {manifest.model_file, name}
    assert manifest.verification.inputs.startswith("the first two of seeded")
    assert manifest.verification.inputs.endswith("in batches of 1, 3 and 6, the engine's graph in ONNX Runtime")
    assert manifest.details["engines_tried"] == []
    assert manifest.tools["tensorrt_rtx_cu13_bindings"] == library.__version__


def test_a_generators_mapping_network_gets_an_engine_too(tmp_path: Path) -> None:
    export_generator(tmp_path / "small", mapping_depth=2)
    mapping = mapping_of(tmp_path / "small")
    assert mapping is not None
    manifest = read_manifest(mapping)
    assert (manifest.engine, manifest.precision, manifest.is_unverified) == ("tensorrt-rtx", "fp32", True)


def test_a_graph_that_computes_something_else_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "bound_for", lambda *_: Bound(psnr=1000, worst=-1))
    with pytest.raises(VerificationError, match=r"generator\.onnx in tensorrt-rtx fp16: got .*, expected PSNR >= 1000"):
        export_generator(tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_an_export_on_a_gpu_is_verified_on_it(tmp_path: Path, exported: Path, gpu: StandInGpu) -> None:
    gpu.model = exported / "generator.onnx"
    manifest = export_generator(tmp_path / "small")
    assert isinstance(manifest.plans, RtxMetadata)
    assert manifest.plans.verified_on == Gpu(gpu=gpu.name, capability=89)
    assert not manifest.is_unverified
    assert [tried["engine"] for tried in manifest.details["engines_tried"]] == ["tensorrt-rtx"]
    assert gpu.launches[3:] == [1, 4, 8]  # batches of 1, 3 and 6, after one run in each prepared size


@pytest.mark.parametrize(("capability", "usable"), [((7, 5), False), ((8, 9), True), ((9, 0), False), ((12, 0), True)])
def test_an_export_is_verified_on_gpus_that_engines_are_built_for(
    library: Any, capability: tuple[int, int], usable: bool
) -> None:
    with machine_with(StandInGpu("a GPU", capability), library):
        assert (usable_gpu() is not None) == usable


def test_no_engine_is_built_for_turing(tmp_path: Path, exported: Path, library: Any) -> None:
    # Styles are float32 matrix products, which the builder refuses for compute capability 7.5.
    (tmp_path / "generator.onnx").write_bytes((exported / "generator.onnx").read_bytes())
    signature = read_manifest(exported).signature
    with pytest.raises(EngineError, match="the model in TensorRT: got no engine, expected a network that it can build"):
        build_engine(tmp_path / "generator.onnx", signature, "fp16", silent, capabilities=(75,))
    assert not (tmp_path / "generator.rtx").exists()


def test_verifying_completes_the_manifest(directory: Path, gpu: StandInGpu) -> None:
    gpu.model = directory / "generator.onnx"
    before = read_manifest(directory)
    verify_directory(directory, silent)
    after = read_manifest(directory)
    assert isinstance(after.plans, RtxMetadata)
    assert after.plans.verified_on == Gpu(gpu=gpu.name, capability=89)
    assert after.verification.psnr is None  # the stand-in computes what the ONNX file says
    assert "against the ONNX file in ONNX Runtime" in after.verification.inputs
    kept = {"plans", "verification"}
    assert after.model_dump(exclude=kept) == before.model_dump(exclude=kept)
    with engine_from_directory(directory) as engine:
        assert engine.run({"w": np.zeros((2, 6, 16), np.float32), "psi": np.ones((2, 1), np.float32)})


def test_an_engine_that_is_wrong_on_the_card_stays_unverified(directory: Path, gpu: StandInGpu, tmp_path: Path) -> None:
    weights = random_generator(16, 8, seed=3)
    options = ExportOptions(tmp_path / "other", "other", engine="onnxruntime", precision="fp32")
    build_generator(weights, [("generator", weights.source)], options, silent)
    gpu.model = tmp_path / "other/generator.onnx"
    before = (directory / MANIFEST).read_bytes()
    with pytest.raises(VerificationError, match=r"in tensorrt-rtx fp16: got worst error"):
        verify_directory(directory, silent)
    assert (directory / MANIFEST).read_bytes() == before


def test_verifying_without_a_gpu_is_refused_before_any_work(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "samples_of", lambda *_: pytest.fail("the reference was run"))
    before = (directory / MANIFEST).read_bytes()
    with pytest.raises(EngineError, match="expected an NVIDIA GPU with its driver; check nvidia-smi"):
        verify_directory(directory, silent)
    assert (directory / MANIFEST).read_bytes() == before


def test_verifying_on_a_gpu_of_another_kind_is_refused_before_any_work(
    directory: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx, "samples_of", lambda *_: pytest.fail("the reference was run"))
    with machine_with(StandInGpu("NVIDIA H200", (9, 0)), library), pytest.raises(EngineError, match="got the GPU"):
        verify_directory(directory, silent)


def test_a_model_for_another_target_needs_no_verifying(tmp_path: Path, gpu: StandInGpu) -> None:
    directory = write_generator(tmp_path / "model", "plain")
    with pytest.raises(ExportError, match=r"got a model for onnxruntime, which was verified at its export, expected"):
        verify_directory(directory, silent)


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["toonify-export", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_says_what_is_left_to_do_and_does_it_on_the_gpu(
    tmp_path: Path,
    library: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = tmp_path / "isf"
    assert run_command(monkeypatch, "isf", "--target", "tensorrt-rtx", "--output", directory) == 0
    out = capsys.readouterr().out
    assert "on 8.0, 8.6, 8.9 or 12.0, its graph verified against PyTorch: " in out
    assert f"{directory}: {UNVERIFIED}; complete it on the GPU with: toonify-export verify {directory}\n" in out
    with machine_with(StandInGpu(), library) as gpu:
        gpu.model = directory / "isf.onnx"
        assert run_command(monkeypatch, "verify", directory) == 0
    assert "12.0, verified on NVIDIA GeForce RTX 4090 (8.9), verified against" in capsys.readouterr().out


@dataclass(frozen=True)
class Models:
    """The tiny models; the engines of the generator and its mapping network are as if built without a GPU."""

    encoder: Path
    generator: Path


@pytest.fixture
def models(tiny_model_directories: TinyModels, tmp_path: Path, library: Any) -> Models:
    generator = write_generator(tmp_path / "plain", "plain")
    for directory in (generator, write_mapping(generator)):
        give_engine(directory, library.__version__)
    return Models(tiny_model_directories.encoder, generator)


def give_engine(directory: Path, version: str) -> None:
    """Give a model directory an engine that computes its ONNX file on a stand-in of a GPU."""
    manifest = read_manifest(directory)
    model, engine = directory / manifest.model_file, directory / f"{manifest.component}.rtx"
    engine.write_text(str(model).ljust(200))
    files = {path.name: sha256_of(path) for path in (model, engine)}
    plans = RtxMetadata(version=version, capabilities=CAPABILITIES, file=engine.name)
    update = {"engine": "tensorrt-rtx", "precision": "fp16", "files": files, "plans": plans}
    write_manifest(directory, manifest.model_copy(update=update))


def test_a_mapping_network_is_verified_with_its_generator(models: Models, gpu: StandInGpu) -> None:
    verify_directory(models.generator, silent)
    for directory in (models.generator, models.generator / MAPPING):
        assert not read_manifest(directory).is_unverified


def test_a_repository_with_an_unverified_engine_is_written_without_a_gpu_and_says_so(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--encoder", models.encoder, "--generator", models.generator, "--output", tmp_path / "repository")
    assert run_command(monkeypatch, "repository", *output) == 0
    assert f"{models.generator}: {UNVERIFIED}; complete it on the GPU with: " in capsys.readouterr().out
    assert run_command(monkeypatch, "repository", *output, "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["unverified"] == [str(models.generator)]


def test_the_doctor_names_unverified_engines_of_a_repository(models: Models, tmp_path: Path) -> None:
    write_repository(tmp_path / "repository", encoder=models.encoder, generators=[models.generator])
    whole, *unverified = doctor._repository(tmp_path / "repository")
    assert not whole.missing
    assert [finding.subject for finding in unverified] == ["generator_plain", "mapping_plain"]
    for finding in unverified:
        assert finding.found == "its engine was built, not verified on a GPU"
        assert "toonify-export verify DIRECTORY" in finding.remedy


def test_plans_of_tensorrt_take_the_place_of_an_engine_for_rtx(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def plans_of(model: Path, *_: object) -> None:
        taken.extend(sorted(path.name for path in model.parent.iterdir()))
        raise EngineError("TensorRT", got="a stop", expected="none", remedy="none")

    monkeypatch.setattr(plans, "candidates_for", lambda *_, **__: [("tensorrt", "fp16")])
    monkeypatch.setattr(plans, "plans_of", plans_of)
    with pytest.raises(EngineError, match="a stop"):
        rebuild_plans(models.generator, silent, PlanOptions())
    assert taken == ["generator.onnx"]
