"""The nodes and constants of an ONNX file, for an engine that runs them itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError

MIN_MAPPED_BYTES = 2**20
"""The size in bytes from which constants are memory-mapped instead of read: engines convert large weights anyway, and a
second copy of a gigabyte takes time. Smaller constants may be kept as they are without keeping a file open."""


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
    """A model's nodes in topological order, and its constants by name, which are read-only."""

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, AnyArray]


def read_graph(model: Path) -> OnnxGraph:
    """Read an ONNX file and its external weights.

    Raises:
        EngineError: it is not an ONNX model, or its weights are missing or cut off.
    """
    proto = _parse(model)
    nodes = tuple(_node(node) for node in proto.graph.node)
    return OnnxGraph(model.name, nodes, _constants(proto.graph.initializer, model.parent))


def read_model(model: Path) -> ModelProto:
    """Read an ONNX file with its external weights into one message.

    Raises:
        EngineError: see ``read_graph``.
    """
    proto = _parse(model)
    for tensor in proto.graph.initializer:
        if uses_external_data(tensor):
            tensor.CopyFrom(numpy_helper.from_array(_external_data(tensor, model.parent), tensor.name))
    return proto


def _parse(model: Path) -> ModelProto:
    try:
        return onnx.load(model, load_external_data=False)
    except DecodeError:
        raise EngineError(
            str(model), got="a file that does not parse", expected="an ONNX model", remedy="export the model again"
        ) from None


def _node(node: NodeProto) -> Node:
    attributes = {attribute.name: _value(helper.get_attribute_value(attribute)) for attribute in node.attribute}
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value


def _constants(tensors: Iterable[TensorProto], folder: Path) -> dict[str, AnyArray]:
    return {
        tensor.name: _external_data(tensor, folder) if uses_external_data(tensor) else numpy_helper.to_array(tensor)
        for tensor in tensors
    }


def _external_data(tensor: TensorProto, folder: Path) -> AnyArray:
    # Not read by onnx, which refuses hard-linked files: a Triton repository consists of them.
    info = ExternalDataInfo(tensor)
    path, offset, shape = folder / Path(info.location).name, info.offset or 0, tuple(tensor.dims)
    dtype, count = helper.tensor_dtype_to_np_dtype(tensor.data_type), int(np.prod(tensor.dims))
    available = max(path.stat().st_size - offset, 0) // dtype.itemsize if path.is_file() else 0
    if available < count:
        raise EngineError(
            str(path),
            got=f"{available} of the {count} numbers of {tensor.name}" if path.is_file() else "no such file",
            expected="the weights that belong to the model",
            remedy="copy the model directory again or export it again",
        )
    if count * dtype.itemsize < MIN_MAPPED_BYTES:
        return np.fromfile(path, dtype, count, offset=offset).reshape(shape)
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))
