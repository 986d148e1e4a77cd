"""A builder of ONNX graphs that adds nodes in order, and constants where they are used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.contract.tensors import Signature, TensorSpec
from engines.tensorrt.operators import DOMAIN, Operator

OPSET = 18
IR_VERSION = 10

Operand = str | ArrayLike
"""The name of a value, or a constant."""


class GraphWriter:
    """Collects nodes and constants; every method that adds one returns the names of its outputs."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, kind: str, *inputs: Operand, named: str | None = None, **attributes: Any) -> str:
        """Add a standard operator with one output, whose name may be given as ``named``."""
        name = f"{kind}.{len(self.nodes)}"
        output = named or name
        self.nodes.append(helper.make_node(kind, [self._name(x) for x in inputs], [output], name, **attributes))
        return output

    def operator(self, operator: Operator, inputs: Sequence[Operand], **attributes: Any) -> list[str]:
        """Add one of this package's operators."""
        name = f"{operator.name}.{len(self.nodes)}"
        outputs = [f"{name}.{output}" for output in operator.outputs]
        names = [self._name(x) for x in inputs]
        self.nodes.append(helper.make_node(operator.name, names, outputs, name, domain=DOMAIN, **attributes))
        return outputs

    def _name(self, operand: Operand) -> str:
        return operand if isinstance(operand, str) else self.constant(operand)

    def constant(self, value: ArrayLike) -> str:
        """Add a constant; float64 values are converted to float32."""
        value = np.asarray(value)
        value = value.astype(np.float32) if value.dtype == np.float64 else value
        name = f"constant.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def model(self, signature: Signature, batch: int | None, functions: Collection[onnx.FunctionProto]) -> ModelProto:
        """The model with the signature's inputs and outputs, for one batch size or, if ``batch`` is None, for any."""
        inputs, outputs = ([_value(spec, batch) for spec in specs] for specs in (signature.inputs, signature.outputs))
        graph = helper.make_graph(self.nodes, "generator", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=list(functions))
        onnx.checker.check_model(model)
        return model


def _value(spec: TensorSpec, batch: int | None) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(spec.dtype.numpy)
    return helper.make_tensor_value_info(spec.name, element, ("N" if batch is None else batch, *spec.dims))
