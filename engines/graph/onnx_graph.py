"""An ONNX file's nodes and constants, for an engine that runs them itself."""

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
"""Bytes, from which constants are mapped instead of read: engines make their own of them, and two copies of a gigabyte
of weights take their time. What is smaller may be kept as it is without keeping a file open."""


@dataclass(frozen=True)
class Node:
    """An operation.

    Attributes:
        operator: the ONNX operator's or the model-local function's name.
        inputs: names of tensors; empty where an optional one is left out.
        outputs: names of tensors.
        attributes: numbers, strings and tuples of numbers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxGraph:
    """A model's nodes, each after those whose outputs it reads, and its constants, read-only, by name."""

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, AnyArray]


def read_graph(model: Path) -> OnnxGraph:
    """Read an ONNX file and the weights beside it.

    Raises:
        EngineError: it is not an ONNX model, or its weights are missing or cut off.
    """
    proto = _parse(model)
    nodes = tuple(_node(node) for node in proto.graph.node)
    return OnnxGraph(model.name, nodes, _constants(proto.graph.initializer, model.parent))


def read_model(model: Path) -> ModelProto:
    """Read an ONNX file with all its weights, for those who want it whole.

    Raises: as ``read_graph``.
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
    # Read here: onnx refuses a file with hard links, which is what a Triton repository has.
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
