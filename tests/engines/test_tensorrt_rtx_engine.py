"""Engines of TensorRT for RTX are loaded and run, with a stand-in for the GPU and for the library's runtime."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in_gpu import StandInGpu, machine_with
from tensorrt_names import names_used
from tiny_models import SIZES, write_generator, write_isf

from engines import engine_from_directory, engine_from_onnx, read_manifest
from engines.contract.errors import EngineError, ModelDirectoryError
from engines.hashed_files import sha256_of
from engines.model_directory import MANIFEST, write_manifest
from engines.rtx_metadata import CAPABILITIES, Gpu, RtxMetadata

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "engines/tensorrt/builder.py", ROOT / "engines/tensorrt/engine.py"]
SOURCES += sorted((ROOT / "engines/tensorrt_rtx").glob("*.py"))

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


@pytest.fixture
def directory(tmp_path: Path, library: Any, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory with an engine that was verified on another GPU; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = write_generator(tmp_path / "model", "plain")
    gpu.model = directory / "generator.onnx"
    (directory / "generator.rtx").write_bytes(bytes(100))
    change_engine(directory, version=library.__version__, verified_on=Gpu(gpu="another", capability=86))
    return directory


def change_engine(directory: Path, **changes: object) -> None:
    """Change the metadata of the engine in a manifest."""
    manifest = read_manifest(directory)
    fields = {"version": "1", "capabilities": CAPABILITIES, "file": "generator.rtx"}
    fields |= manifest.plans.model_dump() if manifest.plans else {}
    plans = RtxMetadata.model_validate(fields | changes)
    hashes = {name: sha256_of(directory / name) for name in (manifest.model_file, plans.file)}
    update = {"engine": "tensorrt-rtx", "precision": "fp16", "plans": plans, "files": hashes}
    write_manifest(directory, manifest.model_copy(update=update))


def inputs(batch: int) -> dict[str, Any]:
    w = np.random.default_rng(0).standard_normal((batch, SIZES.geometry.rows, SIZES.w_dim)).astype(np.float32)
    return {"w": w, "psi": np.ones((batch, 1), np.float32)}


def test_every_name_of_the_library_is_there(library: Any) -> None:
    chains = {name.removeprefix("tensorrt.") for source in SOURCES for name in names_used(source)}
    assert {"Runtime.get_engine_validity", "IRuntimeConfig.set_runtime_cache", "Builder.create_network"} <= chains
    assert not [chain for chain in sorted(chains) if reduce(member, chain.split("."), library) is None]


def member(owner: Any, name: str) -> Any:
    return getattr(owner, name, None)


def test_a_batch_of_any_size_gives_the_pictures_of_the_onnx_file(directory: Path, gpu: StandInGpu) -> None:
    expected = pictures_of_onnx_file(directory, inputs(14))
    with engine_from_directory(directory) as engine:
        gpu.launches.clear()
        pictures = engine.run(inputs(14))["image"]
        engine.close()
    assert gpu.launches == [8, 8]  # six samples are padded to a batch of eight
    assert np.array_equal(pictures, expected)


def pictures_of_onnx_file(directory: Path, given: dict[str, Any]) -> Any:
    manifest = read_manifest(directory)
    with engine_from_onnx(directory / manifest.model_file, manifest.signature, "onnxruntime") as engine:
        return engine.run(given)["image"]


def test_kernels_are_compiled_at_once_for_each_batch_size_and_run_as_graphs(
    directory: Path, gpu: StandInGpu, library: Any
) -> None:
    engine_from_directory(directory).close()
    assert gpu.launches == [1, 4, 8]
    eager = library.DynamicShapesKernelSpecializationStrategy.EAGER
    graphs = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    for config in gpu.configs:
        assert config.dynamic_shapes_kernel_specialization_strategy is eager
        assert config.cuda_graph_strategy is graphs
    caches = {id(config.set_runtime_cache.call_args.args[0]) for config in gpu.configs}
    assert len(gpu.configs) == 3
    assert len(caches) == 1


def test_what_was_compiled_is_kept_in_the_users_cache_for_the_next_load(
    directory: Path, gpu: StandInGpu, tmp_path: Path
) -> None:
    engine_from_directory(directory).close()
    assert gpu.cached == []
    (file,) = (tmp_path / "cache").rglob("*.cache")
    assert file.read_bytes() == b"compiled"
    engine_from_directory(directory).close()
    assert gpu.cached == [b"compiled"]


def test_the_cache_of_a_server_is_where_the_server_keeps_compiled_models(directory: Path, tmp_path: Path) -> None:
    engine_from_directory(directory, cache=tmp_path / "served").close()
    assert [path.suffix for path in (tmp_path / "served/tensorrt-rtx").iterdir()] == [".cache"]
    assert not (tmp_path / "cache").exists()


def test_a_damaged_cache_is_replaced(directory: Path, gpu: StandInGpu, tmp_path: Path) -> None:
    engine_from_directory(directory).close()
    (file,) = (tmp_path / "cache").rglob("*.cache")
    file.write_bytes(b"damaged")
    engine_from_directory(directory).close()
    assert gpu.cached == [b"damaged"]
    assert file.read_bytes() == b"compiled"


def test_an_engine_runs_where_no_cache_can_be_written(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    with engine_from_directory(directory) as engine:
        assert engine.run(inputs(1))["image"].shape == (1, 32, 32, 3)


def test_another_gpu_of_the_capabilities_runs_the_engine(library: Any, directory: Path, gpu: StandInGpu) -> None:
    blackwell = StandInGpu("NVIDIA GeForce RTX 5090", (12, 0))
    blackwell.model = gpu.model
    with machine_with(blackwell, library):
        engine_from_directory(directory).close()
    assert blackwell.launches == [1, 4, 8]


@pytest.mark.parametrize(("name", "capability"), [("NVIDIA H200", (9, 0)), ("NVIDIA T4", (7, 5))])
def test_a_gpu_that_engines_are_not_built_for_is_refused(
    library: Any, directory: Path, name: str, capability: tuple[int, int]
) -> None:
    sentence = rf"got the GPU {name} .*, expected one of compute capability 8\.0, 8\.6, 8\.9 or 12\.0; .* torch-cuda"
    with machine_with(StandInGpu(name, capability), library), pytest.raises(EngineError, match=sentence):
        engine_from_directory(directory)


def test_an_engine_of_another_version_is_refused(directory: Path, gpu: StandInGpu) -> None:
    change_engine(directory, version="1.5.0.114")
    with pytest.raises(EngineError, match=r"got one that version 1\.5\.0\.114 built, expected one of version 1\."):
        engine_from_directory(directory)
    assert not gpu.launches


def test_an_engine_that_its_header_refuses_is_not_loaded(directory: Path, gpu: StandInGpu) -> None:
    gpu.validity = ("INVALID", 1 | 4)
    with pytest.raises(EngineError, match=r"generator\.rtx: got .* invalid \(version mismatch, old cuda driver\)"):
        engine_from_directory(directory)
    assert not gpu.launches


def test_an_engine_that_the_library_does_not_load_is_refused(directory: Path, gpu: StandInGpu) -> None:
    gpu.loads = False
    with pytest.raises(EngineError, match=r"got a plan that TensorRT cannot load.*--target tensorrt-rtx"):
        engine_from_directory(directory)


def test_an_engine_with_other_tensors_is_refused(directory: Path, gpu: StandInGpu, tmp_path: Path) -> None:
    gpu.model = write_isf(tmp_path / "isf") / "isf.onnx"
    with pytest.raises(EngineError, match=r"rtx: got attributes INPUT .*, expected image OUTPUT uint8 \[1, 32"):
        engine_from_directory(directory)


def test_an_altered_engine_is_refused(directory: Path, gpu: StandInGpu) -> None:
    (directory / "generator.rtx").write_bytes(bytes(101))
    with pytest.raises(ModelDirectoryError, match=r"generator\.rtx: got a file with sha256"):
        engine_from_directory(directory)
    assert not gpu.launches


def test_a_manifest_without_an_engine_is_refused(directory: Path) -> None:
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps(manifest | {"plans": None}))
    with pytest.raises(EngineError, match="got no engine of TensorRT for RTX, expected one in the manifest; export"):
        engine_from_directory(directory)


def test_loading_says_in_one_sentence_that_an_engine_was_never_verified(
    directory: Path, gpu: StandInGpu, caplog: pytest.LogCaptureFixture
) -> None:
    engine_from_directory(directory).close()
    assert not caplog.messages
    change_engine(directory, verified_on=None)
    with caplog.at_level(logging.WARNING):
        engine_from_directory(directory).close()
    assert caplog.messages == [
        f"{directory}: the engine was built, not verified on a GPU; complete it on the GPU with: "
        f"toonify-export verify {directory}"
    ]


def test_without_a_gpu_an_engine_is_refused_in_one_sentence(
    directory: Path, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match=r"got no PyCUDA that loads, .*'toonify-serve\[tensorrt-rtx\]' pycuda"):
        engine_from_directory(directory)
