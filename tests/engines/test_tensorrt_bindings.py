"""The TensorRT code runs against TensorRT's real Python bindings, over a stub of its libraries.

The tests show that every name exists, and that the plugins answer TensorRT's queries. Only TensorRT on a GPU can show
that it builds and runs them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from tensorrt_names import names_used

from engines.tensorrt.operators import OPERATORS

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests/helpers"
ENGINES = ROOT / "engines"
SOURCES = sorted((ENGINES / "tensorrt").glob("*.py"))
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")

pytestmark = [
    pytest.mark.skipif(
        find_spec("tensorrt_bindings") is None,
        reason="TensorRT's bindings are missing: pip install tensorrt_cu13_bindings",
    ),
    pytest.mark.skipif(which("cc") is None, reason="no C compiler"),
]

BATCH = 3
_ACTIVATION = [(BATCH, 24), (16, 16), (24,)]
_RGB = [(3, 24), (BATCH, 24), (3,), (BATCH, 3, 8, 8)]
_STYLE = [(BATCH, 24)]
_MAP, _WIDE_MAP, _WEIGHT = (BATCH, 24, 16, 16), (BATCH, 32, 16, 16), (24, 3, 3, 32)
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "Tail": [(BATCH, 24, 17, 17), *_ACTIVATION, *_STYLE],
    "ConvUp": [(BATCH, 32, 8, 8), (48, 3, 3, 32), *_ACTIVATION, *_STYLE],
    "ToRgb": [_MAP, *_ACTIVATION, *_RGB, *_STYLE],
    "LastToRgb": [_MAP, *_ACTIVATION, *_RGB],
    "ConvRgb": [_WIDE_MAP, _WEIGHT, *_ACTIVATION, *_RGB, *_STYLE],
    "LastConvRgb": [_WIDE_MAP, _WEIGHT, *_ACTIVATION, *_RGB],
}
"""The shapes of the inputs of layers with 24 output channels at 16x16."""
OUTPUTS = {"y": [BATCH, 24, 16, 16], "next": [BATCH, 24, 16, 16], "image": [BATCH, 3, 16, 16]}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The stub under the names of TensorRT's libraries, in the version that the bindings load."""
    folder = tmp_path_factory.mktemp("tensorrt")
    major = bindings_version().split(".")[0]
    built = []
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        # Only the first library has the functions: those of a later one would hide its plugin registry.
        source = HELPERS / "tensorrt_stub.c" if library == "nvinfer" else Path(os.devnull)
        command = ["cc", "-shared", "-fPIC", f"-DTENSORRT_MAJOR={major}", f"-Wl,-soname,{name}", "-x", "c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        built.append(str(folder / name))
    return built


def bindings_version() -> str:
    # Read, not imported: the bindings load only over the stub.
    specification = find_spec("tensorrt_bindings")
    assert specification is not None
    assert specification.origin is not None
    version = re.search(r'__version__ = "([\d.]+)"', Path(specification.origin).read_text())
    assert version is not None
    return version[1]


def ask(libraries: list[str], function: str, *arguments: object) -> Any:
    """Call a function of ``tensorrt_probe``."""
    command = [sys.executable, str(HELPERS / "tensorrt_probe.py"), *libraries]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    request = json.dumps({"function": function, "arguments": arguments})
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # the lines before are TensorRT's messages


def test_every_name_of_tensorrt_is_there(libraries: list[str]) -> None:
    chains = sorted({name for source in SOURCES for name in names_used(source)})
    assert {"tensorrt.IBuilderConfig.set_timing_cache", "tensorrt.plugin.aot_impl", "tensorrt.Runtime"} <= set(chains)
    assert ask(libraries, "missing", chains) == []


def test_a_missing_name_is_reported(libraries: list[str]) -> None:
    chains = ["tensorrt.Builder", "tensorrt.IBuilderConfig.no_such", "tensorrt.plugin.no_such"]
    assert ask(libraries, "missing", chains) == chains[1:]


@pytest.fixture(scope="module")
def answers(libraries: list[str]) -> Any:
    """Every plugin's answers to TensorRT's queries."""
    return ask(libraries, "drive", SHAPES, {"clamp": 256.0, "capability": 80})


@pytest.fixture(params=OPERATORS)
def name(request: pytest.FixtureRequest) -> Any:
    """The name of a plugin."""
    return request.param


@pytest.fixture
def driven(answers: Any, name: str) -> Any:
    """This plugin's answers."""
    return answers[name]


def test_a_plugin_is_made_as_the_parser_makes_it(driven: Any, name: str) -> None:
    assert driven["fields"] == ["clamp", "capability"]
    assert driven["aot"]


def test_a_plugin_states_types_and_shapes_of_its_outputs(driven: Any, name: str) -> None:
    outputs = OPERATORS[name].outputs
    assert driven["types"] == ["FLOAT" if output == "image" else "HALF" for output in outputs]
    assert driven["outputs"] == [OUTPUTS[output] for output in outputs]


def test_maps_are_channels_last_and_all_else_is_linear(driven: Any, name: str) -> None:
    for operand, chosen in zip(OPERATORS[name].operands, driven["formats"], strict=True):
        if operand in ("x", "y", "next"):
            assert chosen == "HALF HWC8"
        else:
            assert chosen == ("HALF LINEAR" if operand in ("weight", "noise") else "FLOAT LINEAR")


def test_a_launch_has_a_block_of_threads_for_every_sample(driven: Any, name: str) -> None:
    launch = driven["launch"]
    assert launch["grid_z"] == BATCH
    assert launch["grid_x"] * launch["grid_y"] >= 1
    assert (launch["block_x"], launch["block_y"], launch["block_z"]) == (128, 1, 1)
    assert launch["shared_mem"] <= 48 * 1024
    assert driven["tactic"] == 1


def test_a_kernel_takes_what_tensorrt_passes(driven: Any, name: str) -> None:
    entry = re.search(rf"\.visible \.entry {driven['entry']}\(([^)]*)\)", driven["ptx"])
    assert entry is not None
    assert entry[1].count(".param .u64") == len(OPERATORS[name].operands) + driven["arguments"]
    assert driven["arguments"] == 0
    assert ".target sm_80" in driven["ptx"]


def test_progress_is_reported_and_missing_plugins_are_refused(libraries: list[str]) -> None:
    built = ask(libraries, "building")
    assert built["told"] == ["Building, 4 of 40", "Building, 8 of 40", "Timing, 1 of 2"]
    assert all(built["going"])
    assert built["interrupted"]
    assert built["level"] == "AMPERE_PLUS"
    assert built["typed"]
    assert "got 1 plugin layers, expected 2" in built["refusal"]


def test_a_batch_is_run_by_plans_of_several_sizes(libraries: list[str]) -> None:
    ran = ask(libraries, "running")
    assert ran["launches"] == [8, 8]  # six samples are padded to a batch of eight
    assert ran["shape"] == [14, 32, 32, 3]
    assert ran["one_plan"] == {"loads": 1, "launches": [4, 1]}
    for refusal in ("other_batch", "other_gpu"):
        assert ran[refusal].endswith("build them for this machine with: toonify-export plans DIRECTORY.")
    assert "generator.b8.plan: got image OUTPUT uint8 [8, 32, 32, 3], psi INPUT" in ran["other_batch"]
    assert "on NVIDIA L4 (8.9), expected TensorRT" in ran["other_gpu"]
