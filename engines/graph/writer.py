"""A writer of ONNX graphs that adds nodes in order, and constants where they are used.

Nodes and constants are named by their place in the network, such as ``synthesis.64.up.affine.weight``, which is how
viewers group them and how errors of other libraries can be understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import ModelProto, NodeProto, helper

from engines.contract.tensors import Signature, TensorSpec

OPSET = 18
IR_VERSION = 10
PRODUCER = "toonify-serve"

Operand = str | ArrayLike
"""The name of a value, or a constant."""


class GraphWriter:
    """Collects nodes and constants; every method that adds one returns the names of its outputs.

    Args:
        name: the graph's name.
        description: what the graph computes, for those who open the file in a viewer.
    """

    def __init__(self, name: str, description: str = "") -> None:
        # Weights are written into the message at once: each of ONNX's helpers would copy all of them.
        self._model = ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER, doc_string=description)
        self._model.graph.name = name
        self._scopes: tuple[str, ...] = ()
        self._uses: Counter[str] = Counter()

    @property
    def nodes(self) -> Sequence[NodeProto]:
        return self._model.graph.node

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put a module's name before those of the nodes and constants that are added in the block."""
        outer, self._scopes = self._scopes, (*self._scopes, name)
        try:
            yield
        finally:
            self._scopes = outer

    def node(self, kind: str, *inputs: Operand, named: str | None = None, **attributes: Any) -> str:
        """Add a standard operator with one output, whose name may be given as ``named``."""
        name = self._unique(kind)
        output = named or name
        self._model.graph.node.append(helper.make_node(kind, self._names(inputs), [output], name, **attributes))
        return output

    def outputs(self, kind: str, inputs: Sequence[Operand], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Add an operator with several outputs, or one of another domain, which is an attribute then."""
        name = self._unique(kind)
        names = [f"{name}.{output}" for output in outputs]
        self._model.graph.node.append(helper.make_node(kind, self._names(inputs), names, name, **attributes))
        return names

    def repeat(self, nodes: Sequence[NodeProto], inputs: Mapping[str, str], scope: str) -> dict[str, str]:
        """Add nodes once more with the same constants, but other inputs.

        Args:
            nodes: nodes of this graph in their order.
            inputs: the new name of each value that is to be replaced.
            scope: stands before the names of the new nodes and of their outputs.

        Returns:
            The name of each output of the nodes -> that of the same output of the new ones.
        """
        names = dict(inputs)
        for node in nodes:
            names |= {output: f"{scope}.{output}" for output in node.output}
            copy = self._model.graph.node.add()
            copy.CopyFrom(node)
            copy.name = f"{scope}.{node.name}"
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names[name] for name in node.output]
        return names

    def constant(self, value: ArrayLike, name: str = "constant") -> str:
        """Add a constant; float64 values are converted to float32."""
        value = np.asarray(value)
        value = value.astype(np.float32) if value.dtype == np.float64 else value
        tensor = self._model.graph.initializer.add(
            name=self._unique(name), dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype)
        )
        tensor.raw_data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
        return tensor.name

    def model(
        self, signature: Signature, batch: int | None = None, functions: Collection[onnx.FunctionProto] = ()
    ) -> ModelProto:
        """Finish the model, with the signature's inputs and outputs, for one batch size or, without ``batch``, for any.

        It is called once, after the last node.
        """
        graph, model = self._model.graph, self._model
        graph.input.extend(_value(spec, batch) for spec in signature.inputs)
        graph.output.extend(_value(spec, batch) for spec in signature.outputs)
        model.functions.extend(functions)
        model.opset_import.add(domain="", version=OPSET)
        for domain in sorted({function.domain for function in functions}):
            model.opset_import.add(domain=domain, version=1)
        with suppress(PackageNotFoundError):  # run from a folder without an installation
            model.producer_version = version(PRODUCER)
        return model

    def _names(self, operands: Sequence[Operand]) -> list[str]:
        return [operand if isinstance(operand, str) else self.constant(operand) for operand in operands]

    def _unique(self, name: str) -> str:
        path = ".".join((*self._scopes, name))
        self._uses[path] += 1
        return path if self._uses[path] == 1 else f"{path}.{self._uses[path]}"


def _value(spec: TensorSpec, batch: int | None) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(spec.dtype.numpy)
    return helper.make_tensor_value_info(spec.name, element, ("N" if batch is None else batch, *spec.dims))
