"""Which libraries an import loads, each tested in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

ML_LIBRARIES = {"torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx_bindings", "pycuda"}
CONTRACTS = ("arrays", "atomic", "checks", "closing", "errors", "tensors")


def loaded_by(statement: str) -> set[str]:
    """Names of the top-level packages that are loaded after the statement."""
    probe = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("module", ["serving.client", "serving.cli", "serving.toonifier", "serving.video.pipeline"])
def test_a_client_loads_no_learning_library(module: str) -> None:
    assert not loaded_by(f"import {module}") & ML_LIBRARIES


@pytest.mark.parametrize("module", ["serving.cli", "export.cli"])
def test_help_loads_no_learning_library_no_grpc_and_no_server(module: str) -> None:
    statement = f"import sys, {module}\nsys.argv = ['program', '--help']\ntry: {module}.main()\nexcept SystemExit: pass"
    loaded = loaded_by(statement + "\nassert 'serving.triton.server' not in sys.modules")
    assert not loaded & {*ML_LIBRARIES, "grpc", "tritonclient"}


@pytest.mark.parametrize("module", ["serving.back_end", "serving.sampler", "serving.studio.studio"])
def test_models_in_this_process_need_no_grpc(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"grpc", "tritonclient"}


@pytest.mark.parametrize(
    "statement",
    [
        "import engines.openvino.engine",
        "from serving.faces.mesh_network import _by_openvino\ntry: _by_openvino(b'')\nexcept RuntimeError: pass",
    ],
)
def test_openvino_reports_no_use(statement: str) -> None:
    loaded = loaded_by(statement + "\nimport sys\nassert sys.modules.pop('openvino_telemetry') is None")
    assert "openvino" in loaded


def test_an_edge_needs_no_grpc() -> None:
    modules = "serving.deploy.configuration, serving.deploy.edge, serving.deploy.supervision"
    assert not loaded_by(f"import {modules}") & {"grpc", "tritonclient"}


@pytest.mark.parametrize("module", ["serving", "engines", *(f"engines.contract.{name}" for name in CONTRACTS)])
def test_the_contracts_need_numpy_only(module: str) -> None:
    package = module.partition(".")[0]
    assert loaded_by(f"import {module}") - loaded_by("import numpy") - sys.stdlib_module_names == {package}


def test_the_engines_load_no_torch_and_no_engine_before_one_is_asked_for() -> None:
    assert not loaded_by("import engines") & ML_LIBRARIES


@pytest.mark.parametrize("package", ["export", "engines", "serving"])
def test_the_top_level_names_are_this_distributions_alone(package: str) -> None:
    assert set(packages_distributions()[package]) == {"toonify-serve"}
