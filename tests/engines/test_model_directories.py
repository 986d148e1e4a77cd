"""Model directories: every file that an engine loads is hashed, and nothing beside the directory is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import TinyModels

from engines import Engine, engine_from_directory, loading, read_manifest
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError, ModelDirectoryError
from engines.contract.tensors import Signature
from engines.engine import EngineOptions
from engines.graph.onnx_graph import read_graph
from engines.hashed_files import hashed_bytes, opened_files, sha256_of
from engines.model_directory import MANIFEST, EngineName, hashed_files

Change = Callable[[dict[str, Any]], object]
INPUTS = {"w": np.full((1, 8, 16), 0.5, np.float32), "psi": np.ones((1, 1), np.float32)}


@pytest.fixture
def directory(tiny_model_directories: TinyModels, tmp_path: Path) -> Path:
    return copytree(tiny_model_directories.generators["plain"], tmp_path / "model")


def change_manifest(directory: Path, change: Change) -> None:
    path = directory / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def plans(name: str) -> dict[str, Any]:
    platform = {"tensorrt": "10.13", "gpu": "H100", "capability": 90}
    return {"platform": platform, "compatibility": "none", "plugins": 0, "kernel_capability": 0, "plans": {1: name}}


def rtx_engine(name: str) -> dict[str, Any]:
    return {"version": "1.7", "capabilities": [89], "file": name}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(files={}), r"no hash of 'generator\.onnx', expected a hash of every file that an engine"),
        (lambda m: m.update(plans=plans("batch_1.plan")), r"no hash of 'batch_1\.plan'"),
        (lambda m: m.update(plans=plans("../evil.plan")), r"no hash of '\.\./evil\.plan'"),
        (lambda m: m.update(plans=rtx_engine("../evil.rtx")), r"no hash of '\.\./evil\.rtx'"),
        (lambda m: m["files"].update({"../evil.plan": "0" * 64}), r"the file name '\.\./evil\.plan'"),
        (lambda m: m["files"].update({"..": "0" * 64}), r"the file name '\.\.'"),
        (lambda m: m["files"].update({".": "0" * 64}), r"the file name '\.'"),
        (lambda m: m["files"].update({"": "0" * 64}), "the file name ''"),
        (lambda m: m["files"].update({"/etc/passwd": "0" * 64}), "the file name '/etc/passwd'"),
        (lambda m: m["files"].update({"a\0b": "0" * 64}), "the file name"),
        (lambda m: m["files"].update({"manifest.json": "0" * 64}), r"the file name 'manifest\.json'"),
        (lambda m: m["files"].update({"missing": "0" * 64}), "missing: got no such file"),
    ],
)
def test_a_manifest_that_does_not_cover_the_model_or_names_other_files_is_refused(
    directory: Path, change: Change, sentence: str
) -> None:
    change_manifest(directory, change)
    with pytest.raises(ModelDirectoryError, match=sentence):
        engine_from_directory(directory)


def test_a_pipe_in_place_of_a_model_is_refused(directory: Path) -> None:
    (directory / "generator.onnx").unlink()
    os.mkfifo(directory / "generator.onnx")
    with pytest.raises(ModelDirectoryError, match="got no such file"):
        read_manifest(directory)


def external(tensor: onnx.TensorProto, location: str) -> None:
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(content)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def in_an_attribute(model: onnx.ModelProto) -> onnx.TensorProto:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32))
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=tensor))
    return model.graph.node[-1].attribute[0].t


def in_a_function(model: onnx.ModelProto) -> onnx.TensorProto:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32))
    node = onnx.helper.make_node("Constant", [], ["unused"], value=tensor)
    model.functions.append(onnx.helper.make_function("own", "f", [], ["unused"], [node], []))
    return model.functions[-1].node[0].attribute[0].t


def in_the_graph(model: onnx.ModelProto) -> onnx.TensorProto:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "unused")
    model.graph.initializer.append(tensor)
    return model.graph.initializer[-1]


@pytest.mark.parametrize("place", [in_the_graph, in_an_attribute, in_a_function])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "weights.data"])
def test_weights_in_a_file_without_a_hash_are_refused(
    directory: Path, place: Callable[[onnx.ModelProto], onnx.TensorProto], location: str
) -> None:
    path = directory / "generator.onnx"
    model = onnx.load(path)
    external(place(model), location)
    path.write_bytes(model.SerializeToString())
    change_manifest(directory, lambda m: m["files"].update({"generator.onnx": sha256_of(path)}))
    with pytest.raises(ModelDirectoryError, match=f"got weights in the file '{location}', expected weights in files"):
        read_manifest(directory)
    (directory / "weights.data").write_bytes(bytes(16))
    change_manifest(directory, lambda m: m["files"].update({"weights.data": sha256_of(directory / "weights.data")}))
    if location == "weights.data":
        read_manifest(directory)


def replace_file(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").replace(path)


def write_in_place(path: Path) -> None:
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [replace_file, write_in_place])
def test_a_model_that_changes_while_it_is_loaded_is_refused_and_closed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    closed: list[bool] = []

    class Engine:
        def close(self) -> None:
            closed.append(True)

    def load(model: Path, *arguments: object, **options: object) -> Engine:
        change(model)
        return Engine()

    monkeypatch.setattr(loading, "engine_from_onnx", load)
    with pytest.raises(ModelDirectoryError, match="a file that changed while it was loaded"):
        engine_from_directory(directory)
    assert closed == [True]


opened_by_others = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="this system does not show what a process has opened"
)


def replace_by_another(path: Path) -> None:
    path.with_name("other").write_bytes(b"another model")
    path.with_name("other").replace(path)


@opened_by_others
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_loads_the_file_that_was_hashed_when_its_name_leads_to_another(
    directory: Path, monkeypatch: pytest.MonkeyPatch, engine: EngineName
) -> None:
    change_manifest(directory, lambda m: m.update({"engine": engine}))
    expected = engine_from_directory(directory).run(INPUTS)["image"]
    pictures: list[AnyArray] = []
    module = import_module(loading.ENGINES[engine].module)

    class Replaced:
        @staticmethod
        def open_engine(model: Path, signature: Signature, options: EngineOptions) -> Engine:
            replace_by_another(model)
            loaded: Engine = module.open_engine(model, signature, options)
            pictures.append(loaded.run(INPUTS)["image"])
            return loaded

    monkeypatch.setattr(loading, "_module", lambda engine: Replaced)
    with pytest.raises(ModelDirectoryError, match="a file that changed while it was loaded"):
        engine_from_directory(directory)
    assert np.array_equal(pictures, [expected])


@opened_by_others
def test_the_readers_of_graphs_take_the_file_that_was_hashed(directory: Path) -> None:
    model, read = directory / "generator.onnx", []
    expected = read_graph(model).nodes

    def read_replaced() -> None:
        with opened_files(directory, {model.name: sha256_of(model)}) as places:
            replace_by_another(model)
            read.append(read_graph(model, places[model.name]).nodes)

    with pytest.raises(ModelDirectoryError, match="a file that changed while it was loaded"):
        read_replaced()
    assert read == [expected]


def test_a_file_that_is_removed_while_it_is_loaded_is_named(directory: Path) -> None:
    model = directory / "generator.onnx"
    sentence = "generator.onnx: got No such file or directory, expected a file that can be read"
    with pytest.raises(ModelDirectoryError, match=sentence), hashed_files(directory):
        model.unlink()


def test_an_error_of_the_engine_is_not_hidden(directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), hashed_files(directory):
        _ = 1 / 0


def test_bytes_are_returned_only_with_their_hash(tmp_path: Path) -> None:
    (tmp_path / "batch_1.plan").write_bytes(b"plan")
    digest = sha256_of(tmp_path / "batch_1.plan")
    assert hashed_bytes(tmp_path / "batch_1.plan", digest) == b"plan"
    (tmp_path / "batch_1.plan").write_bytes(b"evil")
    with pytest.raises(ModelDirectoryError, match="a file that changed while it was loaded"):
        hashed_bytes(tmp_path / "batch_1.plan", digest)


def test_an_engine_gets_the_hashes_of_the_files_beside_its_model(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[EngineOptions] = []

    class Module:
        @staticmethod
        def open_engine(model: Path, signature: Signature, options: EngineOptions) -> Engine:
            given.append(options)
            raise EngineError("engine", got="a test", expected="none", remedy="ignore it")

    monkeypatch.setattr(loading, "_module", lambda engine: Module)
    with pytest.raises(EngineError, match="got a test"):
        engine_from_directory(directory)
    assert given[0].hashes == read_manifest(directory).files


UNREADABLE = Path("/proc/self/mem")
"""A file of which the first byte cannot be read, by root neither."""


@pytest.mark.parametrize("name", [MANIFEST, "generator.onnx"])
def test_a_file_that_cannot_be_read_is_named(name: str, directory: Path) -> None:
    (directory / name).unlink()
    (directory / name).symlink_to(UNREADABLE)
    sentence = rf"{name}: got Input/output error, expected a file that can be read; let this user read it, or copy"
    with pytest.raises(ModelDirectoryError, match=sentence):
        read_manifest(directory)
    with pytest.raises(ModelDirectoryError, match=sentence):
        sha256_of(directory / name)
    with pytest.raises(ModelDirectoryError, match=sentence):
        hashed_bytes(directory / name, None)


def test_a_manifest_of_any_size_takes_no_memory(directory: Path) -> None:
    os.truncate(directory / MANIFEST, 2**40)
    with pytest.raises(ModelDirectoryError, match=r"manifest.json: got a larger file, expected at most 16777216 bytes"):
        read_manifest(directory)
