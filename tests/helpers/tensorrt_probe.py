"""Runs TensorRT's Python bindings over a stub of its libraries, in a process of its own that the tests start.

    python tensorrt_probe.py <library> ... < request.json

A request {"function": name, "arguments": [...]} calls one of these functions; the last line of output is the answer.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import operator
import sys
import types
from collections.abc import Callable, Sequence
from functools import reduce
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock

Shape = tuple[int, ...]


def load(libraries: Sequence[str]) -> None:
    """Make ``import tensorrt`` find the bindings, and ``import pycuda`` a mock."""
    for library in libraries:
        ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt.plugin"] = importlib.import_module("tensorrt_bindings.plugin")
    driver = MagicMock(name="pycuda.driver")
    sys.modules["pycuda"] = types.ModuleType("pycuda")
    sys.modules["pycuda.driver"] = vars(sys.modules["pycuda"])["driver"] = driver


def missing(chains: Sequence[str]) -> list[str]:
    """Those of the names ``tensorrt.X.Y`` that do not exist."""
    return [chain for chain in chains if not _exists(chain)]


def _exists(chain: str) -> bool:
    root = sys.modules["tensorrt.plugin" if chain.startswith("tensorrt.plugin.") else "tensorrt"]
    names = chain.removeprefix("tensorrt.plugin.").removeprefix("tensorrt.").split(".")
    try:
        reduce(getattr, names, root)
    except AttributeError:
        return False
    return True


class Dimension:
    """A stand-in for ``trt.IDimensionExpr`` with a known value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return True

    def is_size_tensor(self) -> bool:
        return False

    def get_constant_value(self) -> int:
        return self.value


class Dimensions(list[Any]):
    """A stand-in for ``trt.DimsExprs``."""

    def __init__(self, length: int) -> None:
        super().__init__([None] * length)


OPERATIONS: dict[str, Callable[[int, int], int]] = {"SUM": operator.add, "SUB": operator.sub, "PROD": operator.mul}


class Expressions:
    """A stand-in for ``trt.IExprBuilder``."""

    def constant(self, value: int) -> Dimension:
        return Dimension(value)

    def operation(self, kind: Any, first: Dimension, second: Dimension) -> Dimension:
        return Dimension(OPERATIONS[kind.name](first.value, second.value))


class Symbol:
    """A stand-in for the C++ expression that a launch parameter becomes."""

    def __init__(self, expression: Any) -> None:
        self.value = expression._expr.value


class Arguments(dict[int, Any]):
    """Collects a launch's scalar arguments."""

    nbSymExprs = 0


def drive(shapes: dict[str, list[Shape]], fields: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Call each plugin as TensorRT's builder does, for inputs of the given shapes, and return its answers."""
    import tensorrt as trt
    from tensorrt_bindings.plugin import _tensor

    from engines.tensorrt.plugins import register_plugins

    register_plugins()
    register_plugins()
    made = {name: _created(name, fields) for name in shapes}
    trt.IDimensionExpr, trt.DimsExprs, _tensor.SymExprImpl = Dimension, Dimensions, Symbol
    return {name: _driven(name, *made[name], shapes[name]) for name in shapes}


def _driven(name: str, plugin: Any, field_names: list[str], shapes: Sequence[Shape]) -> dict[str, Any]:
    import tensorrt as trt

    from engines.tensorrt.operators import OPERATORS

    elements = {"FP16": trt.float16, "FP32": trt.float32}
    inputs = [elements[kind] for kind in OPERATORS[name].types.split(",")[: len(shapes)]]
    types_out = plugin.get_output_data_types(inputs, [len(shape) for shape in shapes])
    dimensions = [[Dimension(size) for size in shape] for shape in shapes]
    outputs = [[size.value for size in shape] for shape in plugin.get_output_shapes(dimensions, [], Expressions())]
    descriptions = [
        _described(kind, shape) for kind, shape in zip([*inputs, *types_out], [*shapes, *outputs], strict=True)
    ]
    formats = plugin.get_supported_format_combinations(descriptions, len(shapes))
    for description, supported in zip(descriptions, formats, strict=True):
        description.desc.format = supported.format
    plugin.configure_plugin(descriptions[: len(shapes)], descriptions[len(shapes) :])
    (tactic,) = plugin.get_valid_tactics()
    plugin.set_tactic(tactic)
    launch, arguments = types.SimpleNamespace(), Arguments()
    plugin.get_launch_params(dimensions, descriptions, len(shapes), launch, arguments, Expressions())
    tensors = [description.desc for description in descriptions]
    entry, ptx = plugin.get_kernel(tensors[: len(shapes)], tensors[len(shapes) :])
    return {
        "fields": field_names,
        "aot": isinstance(plugin, trt.IPluginV3QuickAOTBuild),
        "types": [kind.name for kind in types_out],
        "outputs": outputs,
        "formats": [f"{supported.type.name} {supported.format.name}" for supported in formats],
        "tactic": tactic,
        "launch": {key: symbol.value for key, symbol in vars(launch).items()},
        "arguments": arguments.nbSymExprs,
        "entry": entry,
        "ptx": ptx.decode(),
    }


def _created(name: str, values: dict[str, float]) -> tuple[Any, list[str]]:
    """The plugin as the ONNX parser creates it, and its creator's fields; ONNX's numbers are FLOAT32 and INT32."""
    import numpy as np
    import tensorrt as trt

    from engines.tensorrt.operators import DOMAIN

    creator = trt.get_plugin_registry().get_creator(name, "1", DOMAIN)
    names = [field.name for field in creator.field_names]
    kinds = {float: (np.float32, trt.PluginFieldType.FLOAT32), int: (np.int32, trt.PluginFieldType.INT32)}
    fields = []
    for key in names:
        element, kind = kinds[type(values[key])]
        fields.append(trt.PluginField(key, np.array([values[key]], element), kind))
    request = trt.QuickPluginCreationRequest.STRICT_AOT
    collection = trt.PluginFieldCollection(fields)
    return creator.create_plugin(name, DOMAIN, collection, trt.TensorRTPhase.BUILD, request), names


def _described(element: Any, shape: Shape) -> Any:
    import tensorrt as trt

    description = trt.DynamicPluginTensorDesc()
    description.desc.type, description.desc.dims = element, trt.Dims(shape)
    description.desc.format = trt.TensorFormat.LINEAR
    return description


def building() -> dict[str, Any]:
    """Run those parts of a build that need no builder, and return their results."""
    import tensorrt as trt

    from engines.contract.errors import EngineError
    from engines.tensorrt import build
    from engines.tensorrt.builder import network_flags, progress_monitor

    told: list[str] = []
    monitor = progress_monitor(trt, told.append)
    monitor.phase_start("Building", None, 40)
    monitor.phase_start("Timing", "Building", 2)
    going = [monitor.step_complete("Building", step) for step in range(8)]
    going += [monitor.step_complete("Timing", 0), monitor.step_complete("Unknown", 0)]
    monitor.phase_finish("Timing")
    stopped = progress_monitor(trt, MagicMock(side_effect=KeyboardInterrupt))
    stopped.phase_start("Building", None, 40)
    going_after_ctrl_c = stopped.step_complete("Building", 39)
    config = MagicMock()
    build.configure(config, build.PlanOptions(compatibility="ampere_plus"))
    layers = [MagicMock(type=trt.LayerType.PLUGIN_V3), MagicMock(type=trt.LayerType.CONVOLUTION)]
    network = MagicMock(num_layers=2, get_layer=lambda index: layers[index])
    build.check_plugins(network, expected=1)
    try:
        build.check_plugins(network, expected=2)
    except EngineError as error:
        refusal = str(error)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return {
        "told": told,
        "going": going,
        "interrupted": stopped.interrupted and not going_after_ctrl_c,
        "level": config.hardware_compatibility_level.name,
        "typed": network_flags(trt) == typed,
        "refusal": refusal,
    }


def running() -> dict[str, Any]:
    """Run ``engines.tensorrt.engine`` with a mocked GPU and runtime, and return what it does."""
    from pathlib import Path

    import numpy as np
    import pycuda.driver as cuda
    import tensorrt as trt

    from engines.contract.errors import EngineError
    from engines.contract.tensors import Geometry, generator_signature
    from engines.plan_metadata import PlanMetadata, Platform
    from engines.tensorrt import engine as tensorrt_engine

    signature = generator_signature(Geometry(32, 16))
    launches: list[int] = []

    dims = {"w": (8, 16), "psi": (1,), "image": (32, 32, 3)}
    loads: list[bytes] = []

    class Context(MagicMock):
        """An execution context of a plan that was built for one batch size, or for any (0)."""

        def set_input_shape(self, name: str, shape: Shape) -> bool:
            self.size = self.built_for or shape[0]
            return bool(self.size == shape[0])

        def get_tensor_shape(self, name: str) -> Any:
            return trt.Dims((self.size, *dims[name]))

        def execute_async_v3(self, stream: int) -> bool:
            launches.append(self.size)
            return True

    def loaded(data: bytes) -> MagicMock:
        loads.append(data)
        engine = MagicMock(num_io_tensors=3)
        engine.get_tensor_name = list(dims).__getitem__
        engine.create_execution_context = lambda: Context(built_for=int(data))
        engine.get_tensor_dtype = lambda name: trt.uint8 if name == "image" else trt.float32
        engine.get_tensor_mode = lambda name: trt.TensorIOMode.OUTPUT if name == "image" else trt.TensorIOMode.INPUT
        return engine

    trt.Runtime = lambda logger: MagicMock(deserialize_cuda_engine=loaded)
    cuda.pagelocked_zeros = lambda shape, dtype: np.zeros(shape, dtype)
    cuda.Device().name.return_value, cuda.Device().compute_capability.return_value = "NVIDIA H100", (9, 0)
    here = Platform(tensorrt=trt.__version__, gpu="NVIDIA H100", capability=90)

    def engine_of(plans: dict[int, str], platform: Platform = here) -> Any:
        metadata = PlanMetadata(platform=platform, compatibility="none", plugins=0, kernel_capability=0, plans=plans)
        return tensorrt_engine.TensorRtEngine(folder, signature, metadata, cuda_graph=False)

    def refusal(make: Callable[[], Any]) -> str:
        try:
            make()
        except EngineError as error:
            return str(error)
        return ""

    with TemporaryDirectory() as path:
        folder = Path(path)
        plans = {batch: f"generator.b{batch}.plan" for batch in (1, 4, 8)}
        for batch, name in plans.items():
            (folder / name).write_text(str(batch))
        with engine_of(plans) as engine:
            shape = engine.run({"w": np.zeros((14, 8, 16), np.float32), "psi": np.ones((14, 1), np.float32)})[
                "image"
            ].shape
            engine.close()
        several = list(launches)
        launches.clear()
        loads.clear()
        (folder / "generator.plan").write_text("0")
        with engine_of(dict.fromkeys(plans, "generator.plan")) as engine:
            engine.run({"w": np.zeros((5, 8, 16), np.float32), "psi": np.ones((5, 1), np.float32)})
        return {
            "one_plan": {"loads": len(loads), "launches": launches},
            "launches": several,
            "shape": shape,
            "other_batch": refusal(lambda: engine_of({4: plans[8]})).replace(path, "DIRECTORY"),
            "other_gpu": refusal(
                lambda: engine_of(plans, here.model_copy(update={"gpu": "NVIDIA L4", "capability": 89}))
            ).replace(path, "DIRECTORY"),
        }


if __name__ == "__main__":
    load(sys.argv[1:])
    request = json.load(sys.stdin)
    answer = {"missing": missing, "drive": drive, "building": building, "running": running}[request["function"]](
        *request["arguments"]
    )
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
