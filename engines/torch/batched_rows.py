"""The rows of W+: the linear layers at the end of an encoder's style heads run as one batched product, ``LinearRows``.

Each layer alone is a few blocks, which leave most of a GPU idle, and has a cast of its own. Where all other rows are
offsets from the first one (e4e), it is added to all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import AnyArray
from engines.graph.onnx_graph import Node, OnnxGraph

_CODE = ("Unsqueeze", "Gemm")
_OFFSET = ("Unsqueeze", "Add", "Gemm")
"""The operators of a row, from the last to the first."""


@dataclass(frozen=True)
class _Rows:
    """The linear layer of each row, whether the first row's code is added to all others, and all nodes' outputs."""

    layers: tuple[Node, ...]
    offsets: bool
    values: frozenset[str]


def with_batched_rows(graph: OnnxGraph, outputs: frozenset[str]) -> OnnxGraph:
    """Return the graph with a ``LinearRows`` for each Concat of rows; ``outputs`` are the names that it must give."""
    readers, constants = graph.readers, dict(graph.constants)
    producers = {node.outputs[0]: node for node in graph.nodes}
    replaced: dict[str, tuple[Node, ...]] = {}
    for concat in graph.nodes:
        rows = _rows(concat, producers, constants)
        if rows is not None and rows.values.isdisjoint(outputs) and not _others_read(rows, concat, readers):
            replaced |= dict.fromkeys(rows.values, ())
            replaced[concat.outputs[0]] = (_linear_rows(rows, concat, constants),)
    nodes = [new for node in graph.nodes for new in replaced.get(node.outputs[0], (node,))]
    return OnnxGraph(graph.name, tuple(nodes), constants)


def _rows(concat: Node, producers: Mapping[str, Node], constants: Mapping[str, AnyArray]) -> _Rows | None:
    """Return the rows that a Concat joins, if linear layers of one shape give them all."""
    if concat.operator != "Concat" or concat.attributes.get("axis") != 1:
        return None
    rows = [_row(name, producers) for name in concat.inputs]
    first, *kinds = [tuple(node.operator for node in row) for row in rows]
    if first != _CODE or len({*kinds}) != 1 or kinds[0] not in (_CODE, _OFFSET):
        return None
    layers, offsets = tuple(row[-1] for row in rows), kinds[0] == _OFFSET
    if offsets and {row[1].inputs[0] for row in rows[1:]} != {layers[0].outputs[0]}:
        return None
    unsqueezed = all(np.array_equal(constants.get(row[0].inputs[-1], ()), (1,)) for row in rows)
    if not unsqueezed or not _alike(layers, constants):
        return None
    return _Rows(layers, offsets, frozenset(node.outputs[0] for row in rows for node in row))


def _row(name: str, producers: Mapping[str, Node]) -> list[Node]:
    """Return the nodes that give a row, from the last to the linear layer; of a sum, the second operand's."""
    nodes = []
    while name in producers:
        node = producers[name]
        nodes.append(node)
        if node.operator not in _OFFSET[:-1]:
            break
        name = node.inputs[1 if node.operator == "Add" else 0]
    return nodes


def _alike(layers: tuple[Node, ...], constants: Mapping[str, AnyArray]) -> bool:
    """Whether linear layers have constant weights [O, I] of one shape, and constant biases or none."""
    constant = all(name in constants for node in layers for name in node.inputs[1:])
    transposed = all(node.attributes.get("transB") == 1 for node in layers)
    return constant and transposed and len({constants[node.inputs[1]].shape for node in layers}) == 1


def _others_read(rows: _Rows, concat: Node, readers: Mapping[str, list[Node]]) -> bool:
    """Whether anything but the Concat reads a value on the way to it; another row's layer may do so."""
    reading = {node.outputs[0] for value in rows.values for node in readers[value]}
    layers_read = {node.inputs[0] for node in rows.layers}
    return not (reading <= {*rows.values, concat.outputs[0]} and layers_read.isdisjoint(rows.values))


def _linear_rows(rows: _Rows, concat: Node, constants: dict[str, AnyArray]) -> Node:
    """Make the node that stands for all rows, and add their weights [L, I, O] and biases [L, O] to the constants."""
    names = [f"{concat.outputs[0]}, {part}" for part in ("weights", "biases")]
    weights = np.stack([constants[layer.inputs[1]] for layer in rows.layers])
    constants[names[0]] = np.ascontiguousarray(weights.transpose(0, 2, 1))
    constants[names[1]] = np.zeros(weights.shape[:2], np.float32)
    for row, layer in enumerate(rows.layers):
        if len(layer.inputs) > 2:  # a bias of zeros is not exported
            constants[names[1]][row] = constants[layer.inputs[2]]
    inputs = (*names, *(layer.inputs[0] for layer in rows.layers))
    return Node("LinearRows", inputs, concat.outputs, {"offsets": int(rows.offsets)})
