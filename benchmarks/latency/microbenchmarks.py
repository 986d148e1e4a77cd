"""Microbenchmarks of the machine's limits: large products and convolutions in several libraries, and a large copy.

The best of them is the roof, in the roofline model's sense, that a network's own rate is compared with. Their rows have
the stage "roof".
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs import Costs
from benchmarks.networks import Scale
from engines import Engine, engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.tensors import DType, Signature, TensorSpec
from engines.engine import BaseEngine
from engines.model_directory import EngineName, Precision

CONVOLUTIONS = 4
"""Number of consecutive convolutions: the layout changes of the first input and the last output then weigh little."""
SIZE = 64
"""Height and width of the convolutions' maps."""


class FunctionEngine(BaseEngine):
    """A function without inputs and outputs, as an engine."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(Signature((), ()))
        self._call = call

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        self._call()
        return {}


@dataclass(frozen=True)
class Microbenchmark:
    """How to open a microbenchmark as an engine, and what one call of it costs."""

    open: Callable[[Scale, Precision, int], Engine]
    costs: Callable[[Scale], Costs]
    precisions: tuple[Precision, ...] = ("fp32", "bf16")


def _width(scale: Scale) -> int:
    return max(scale.channels.values())


def _copied_elements(scale: Scale) -> int:
    """Number of float32 elements that are copied: 512 MiB for a full-sized generator, more than any cache holds."""
    return _width(scale) << 18


def _matrix_side(scale: Scale) -> int:
    """Side length of the matrices that are multiplied: 2048 for a full-sized generator."""
    return 4 * _width(scale)


def _torch_product(scale: Scale, precision: Precision, threads: int) -> Engine:
    import torch

    torch.set_num_threads(threads)
    side, dtype = _matrix_side(scale), torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    return FunctionEngine(lambda: a @ b)


def _torch_copy(scale: Scale, precision: Precision, threads: int) -> Engine:
    import torch

    torch.set_num_threads(threads)
    source = torch.ones(_copied_elements(scale))
    target = torch.empty_like(source)
    return FunctionEngine(lambda: target.copy_(source))


def _product(engine: EngineName) -> Callable[[Scale, Precision, int], Engine]:
    def open_engine(scale: Scale, precision: Precision, threads: int) -> Engine:
        side = _matrix_side(scale)
        return _from_onnx("MatMul", 1, (side, side), (side, side), engine, precision, threads)

    return open_engine


def _convolutions(engine: EngineName) -> Callable[[Scale, Precision, int], Engine]:
    def open_engine(scale: Scale, precision: Precision, threads: int) -> Engine:
        width = _width(scale)
        weight = (width, width, 3, 3)
        return _from_onnx("Conv", CONVOLUTIONS, (width, SIZE, SIZE), weight, engine, precision, threads)

    return open_engine


def _from_onnx(
    operator: str,
    count: int,
    dims: tuple[int, ...],
    weight: tuple[int, ...],
    engine: EngineName,
    precision: Precision,
    threads: int,
) -> Engine:
    """An engine of ``count`` consecutive operators with one random weight: x [1, *dims] -> y [1, *dims]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    constant = (draw.standard_normal(weight, np.float32) / np.sqrt(np.prod(weight[1:]))).astype(np.float32)
    names = ["x", *(f"h{k}" for k in range(1, count)), "y"]
    attributes: dict[str, Any] = {"pads": [1, 1, 1, 1]} if operator == "Conv" else {}
    nodes = [helper.make_node(operator, [names[k], "weight"], [names[k + 1]], **attributes) for k in range(count)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *dims]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "roof", [x], [y], [numpy_helper.from_array(constant, "weight")])
    signature = Signature((TensorSpec("x", DType.FLOAT32, dims),), (TensorSpec("y", DType.FLOAT32, dims),))
    inputs = {"x": draw.standard_normal((1, *dims), np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roof.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
        engine_of_graph = engine_from_onnx(path, signature, engine, precision, threads=threads)
    return FunctionEngine(lambda: engine_of_graph.run(inputs))


def _product_costs(scale: Scale) -> Costs:
    return Costs(_matrix_side(scale) ** 3, 3 * 4 * _matrix_side(scale) ** 2)


def _convolution_costs(scale: Scale) -> Costs:
    width = _width(scale)
    return Costs(CONVOLUTIONS * 9 * width**2 * SIZE**2, CONVOLUTIONS * 4 * (2 * width * SIZE**2 + 9 * width**2))


def _copy_costs(scale: Scale) -> Costs:
    """Every byte is read once and written once."""
    return Costs(0, 2 * 4 * _copied_elements(scale))


MICROBENCHMARKS = {
    "torch product": Microbenchmark(_torch_product, _product_costs),
    "openvino product": Microbenchmark(_product("openvino"), _product_costs),
    "openvino convolutions": Microbenchmark(_convolutions("openvino"), _convolution_costs),
    "onnxruntime convolutions": Microbenchmark(_convolutions("onnxruntime"), _convolution_costs, precisions=("fp32",)),
    "torch copy": Microbenchmark(_torch_copy, _copy_costs, precisions=("fp32",)),
}
"""The microbenchmarks by the name in their rows; bytes are counted in float32, as they are for the networks."""
