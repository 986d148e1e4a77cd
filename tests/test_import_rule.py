"""Every module's imports agree with the table of CONTRIBUTING.md that says which package may import which."""

from __future__ import annotations

from pathlib import Path

import pytest
from import_rule import ImportGraph, forbidden_client_imports, read_import_graph

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return read_import_graph(ROOT)


def test_no_module_imports_from_a_layer_above_its_own(graph: ImportGraph) -> None:
    assert not list(map(str, graph.upward()))


def test_no_modules_import_one_another_in_a_cycle(graph: ImportGraph) -> None:
    assert not graph.cycles()


def test_a_client_loads_no_machine_learning_library_and_no_engine(graph: ImportGraph) -> None:
    assert not forbidden_client_imports(graph, "serving.client")


def test_the_modules_that_are_found_by_name_are_seen(graph: ImportGraph) -> None:
    pairs = {(one.importer, one.imported) for one in graph.imports}
    assert {("engines", "engines.loading"), ("serving", "serving.triton.server")} <= pairs


def write_modules(folder: Path, files: dict[str, str]) -> ImportGraph:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_import_graph(folder)


LATE = "def load():\n    from serving.client import calls\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import serving.client.calls\n"
BY_NAME = (
    'import importlib\n\nTABLE = {"calls": "serving.client.calls"}\nfound = importlib.import_module(TABLE["calls"])\n'
)
FORMS = {"plain": "import serving.client.calls\n", "late": LATE, "for types": TYPES, "by name": BY_NAME}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_an_upward_import_of_any_form_is_reported(text: str, tmp_path: Path) -> None:
    graph = write_modules(tmp_path, {"engines/loading": text, "serving/client/calls": ""})
    assert [(one.importer, one.imported) for one in graph.upward()] == [("engines.loading", "serving.client.calls")]


def test_the_lowest_layer_may_import_numpy_alone(tmp_path: Path) -> None:
    text = "import json\nimport numpy\nimport pydantic\nimport engines.engine\n"
    graph = write_modules(tmp_path, {"engines/contract/tensors": text, "engines/engine": "import pydantic\n"})
    assert [one.imported for one in graph.upward()] == ["pydantic", "engines.engine"]


def test_a_downward_import_is_not_reported(tmp_path: Path) -> None:
    files = {"benchmarks/a": "import export.b", "export/b": "import serving.c", "serving/c": "from engines import d"}
    graph = write_modules(tmp_path, files | {"engines/d": "from engines.contract import e", "engines/contract/e": ""})
    assert not graph.upward()
    assert not graph.cycles()


def test_a_cycle_is_reported_though_one_of_its_imports_is_late(tmp_path: Path) -> None:
    files = {
        "serving/__init__": "",
        "serving/a": "from serving import b",
        "serving/b": "from serving.c import name",
        "serving/c": "def late():\n    from . import a\n",
        "serving/d": "from serving import a",
    }
    assert write_modules(tmp_path, files).cycles() == [("serving.a", "serving.b", "serving.c")]


@pytest.mark.parametrize("library", ["torch", "onnxruntime.capi", "engines.loading"])
def test_what_a_client_must_not_load_is_reported_through_other_modules(library: str, tmp_path: Path) -> None:
    files = {"serving/client/calls": "import serving.controls", "serving/controls": f"import {library}"}
    graph = write_modules(tmp_path, files | {"engines/loading": "", "engines/contract/tensors": ""})
    assert f"serving.controls imports {library}" in forbidden_client_imports(graph, "serving.client")


def test_a_clients_own_late_imports_count_and_those_of_others_do_not(tmp_path: Path) -> None:
    files = {"serving/client/calls": "import serving.controls\ndef late():\n    import onnx", "serving/controls": LATE}
    graph = write_modules(tmp_path, files | {"serving/server": "import torch"})
    assert forbidden_client_imports(graph, "serving.client") == ["serving.client.calls imports onnx"]


def test_a_client_may_load_the_contract(tmp_path: Path) -> None:
    files = {"serving/client/calls": "import engines.contract.tensors\nimport numpy", "engines/contract/tensors": ""}
    assert not forbidden_client_imports(write_modules(tmp_path, files), "serving.client")
