"""The nodes and constants of an ONNX file, for an engine that runs them itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_constants import read_constant

DOMAINS = ("", "ai.onnx", "toonify")
"""The domains of operators and functions in exported graphs: ONNX's own, and this package's."""

_ATTRIBUTES = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
}
"""The field of each type of attribute that exported graphs have."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        operator: the name of the ONNX operator or the model-local function.
        inputs: the input tensors' names; empty for an omitted optional input.
        outputs: the output tensors' names.
        attributes: numbers, strings and tuples of numbers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxGraph:
    """A model's nodes in topological order, and its constants by name, which are read-only.

    Every input of a node is a constant, an input of the graph or an output of an earlier node, and no name is given
    twice, so that whoever follows names backwards comes to an end.
    """

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, AnyArray]

    @property
    def readers(self) -> Mapping[str, list[Node]]:
        """The nodes that read each value, twice if one reads it twice; none for a value that nothing reads."""
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers


def read_graph(model: Path, opened: Path | None = None) -> OnnxGraph:
    """Read an ONNX file, or the same file from where it was ``opened``, and its external weights.

    Raises:
        EngineError: it is not an ONNX model, its weights are missing or cut off, its nodes are not in order, or a node
            or constant is of a kind that exported graphs do not have.
    """
    proto = parse_model(model, opened)
    nodes = tuple(_node(node, model) for node in proto.graph.node)
    _check_order(proto.graph, nodes, model)
    return OnnxGraph(
        model.name, nodes, {tensor.name: read_constant(tensor, model) for tensor in proto.graph.initializer}
    )


def read_model(model: Path) -> ModelProto:
    """Read an ONNX file with its external weights into one message.

    Raises:
        EngineError: it is not an ONNX model, or its weights are missing or cut off.
    """
    proto = parse_model(model)
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(read_constant(tensor, model), tensor.name))
    return proto


def parse_model(model: Path, opened: Path | None = None) -> ModelProto:
    """Read an ONNX file, or the same file from where it was ``opened``, without its external weights.

    Raises:
        EngineError: there is no such file, or it is not an ONNX model.
    """
    if not (opened or model).is_file():
        raise _error(model, "no such file")
    try:
        return onnx.load(opened or model, load_external_data=False)
    except (DecodeError, OSError) as error:
        got = "a file that does not parse" if isinstance(error, DecodeError) else "a file that cannot be read"
        raise _error(model, got) from None


def _node(node: NodeProto, model: Path) -> Node:
    if node.domain not in DOMAINS:
        raise _error(model, f"the operator {node.op_type!r:.100} of the domain {node.domain!r:.100}")
    return Node(
        operator=node.op_type,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={attribute.name: _value(attribute, node, model) for attribute in node.attribute},
    )


def _value(attribute: AttributeProto, node: NodeProto, model: Path) -> Any:
    field = _ATTRIBUTES.get(attribute.type)
    if field is None:
        raise _error(model, f"an attribute {attribute.name!r:.100} of {node.op_type:.100} of type {attribute.type}")
    value = getattr(attribute, field)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, (int, float)) else tuple(value)


def _check_order(graph: GraphProto, nodes: tuple[Node, ...], model: Path) -> None:
    constants = [tensor.name for tensor in graph.initializer]
    known = {"", *(value.name for value in graph.input), *constants}
    if len({*constants}) < len(constants):
        raise _error(model, "two constants of the same name")
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise _error(model, f"a {node.operator:.100} of {name!r:.100}, which nothing before it gives")
        for name in node.outputs:
            if name in known and name:
                raise _error(model, f"two tensors called {name!r:.100}")
            known.add(name)


def _error(model: Path, got: str) -> EngineError:
    return EngineError(
        str(model), got=got, expected="an ONNX model, as toonify-export writes it", remedy="export the model again"
    )
