"""Parses a graph with the parser of TensorRT for RTX and builds an engine, in a process of its own; needs no GPU.

    python tensorrt_rtx_builder.py <model.onnx> <smallest batch> <largest batch>

The last line of output is JSON: the number of layers and of the engine's bytes, or the parser's errors; and warnings.
"""

from __future__ import annotations

import ctypes
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")


def load() -> Any:
    """The bindings, over the libraries of the package ``tensorrt_rtx_libs``."""
    spec = find_spec("tensorrt_rtx_libs")
    assert spec
    assert spec.submodule_search_locations
    for name in LIBRARIES:
        ctypes.CDLL(str(Path(spec.submodule_search_locations[0]) / name), ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings

    return tensorrt_rtx_bindings


def build(model: str, smallest: int, largest: int) -> dict[str, Any]:
    """Build for compute capability 8.9; a strongly typed network takes its precisions from the graph."""
    trt = load()
    warnings: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.WARNING, trt.ILogger.ERROR):
                warnings.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(model):
        return {"errors": [str(parser.get_error(i)) for i in range(parser.num_errors)], "warnings": warnings}
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        smaller, larger = ((batch, *tuple(tensor.shape)[1:]) for batch in (smallest, largest))
        profile.set_shape(tensor.name, smaller, larger, larger)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    engine = builder.build_serialized_network(network, config)
    size = 0 if engine is None else engine.nbytes
    return {"layers": network.num_layers, "bytes": size, "errors": [], "warnings": warnings}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(build(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))) + "\n")
