"""Squeeze and excitation: what follows the channels' means in a residual unit runs as one operator, ``Excitation``.

Two convolutions of single pixels, their activations, the product with the map and the sum with the shortcut are six
launches, each of which takes longer to start than to run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.contract.arrays import AnyArray
from engines.graph.onnx_graph import Node, OnnxGraph

_FOLLOWING = ("Conv", "Relu", "Conv", "Sigmoid", "Mul", "Add")
"""The operators that are replaced, in the order in which they follow the channels' means."""


def with_excitations(graph: OnnxGraph, outputs: frozenset[str]) -> OnnxGraph:
    """Return the graph with an ``Excitation`` for each unit; ``outputs`` are the names that it must give."""
    readers, constants = graph.readers, dict(graph.constants)
    replaced: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        unit = _following(node, readers, outputs)
        if _is_excitation(node, unit, constants):
            replaced |= {each.outputs[0]: () for each in unit}
            replaced[unit[-1].outputs[0]] = (_excitation(node, unit, constants),)
    nodes = [new for node in graph.nodes for new in replaced.get(node.outputs[0], (node,))]
    return OnnxGraph(graph.name, tuple(nodes), constants)


def _following(mean: Node, readers: Mapping[str, list[Node]], outputs: frozenset[str]) -> list[Node]:
    """Return the nodes from the means to the unit's output, if nothing else reads their values; otherwise none."""
    nodes, value = [], mean.outputs[0]
    for operator in _FOLLOWING:
        if value in outputs or [node.operator for node in readers.get(value, ())] != [operator]:
            return []
        nodes.append(readers[value][0])
        value = nodes[-1].outputs[0]
    return nodes


def _is_excitation(mean: Node, unit: list[Node], constants: Mapping[str, AnyArray]) -> bool:
    if mean.operator != "ReduceMean" or not unit or not np.array_equal(constants.get(mean.inputs[-1], ()), (2, 3)):
        return False
    squeeze, activated, excite, gates, scaled, added = unit
    matrices = all(_is_matrix(node, constants) for node in (squeeze, excite))
    # The shortcut is a map like x; a constant would be broadcast.
    return (
        matrices
        and squeeze.inputs[0] == mean.outputs[0]
        and excite.inputs[0] == activated.outputs[0]
        and {*scaled.inputs} == {mean.inputs[0], gates.outputs[0]}
        and constants.keys().isdisjoint(added.inputs)
    )


def _is_matrix(node: Node, constants: Mapping[str, AnyArray]) -> bool:
    """Whether a convolution has no bias and a constant kernel of one pixel."""
    grouped = node.attributes.get("group", 1) != 1 or any(node.attributes.get("pads", ()))
    if grouped or len(node.inputs) != 2 or node.inputs[1] not in constants:
        return False
    return constants[node.inputs[1]].shape[2:] == (1, 1)


def _excitation(mean: Node, unit: list[Node], constants: dict[str, AnyArray]) -> Node:
    """Make the node that stands for a unit's, and add its matrices to the constants, the second one transposed."""
    squeeze, _, excite, _, scaled, added = unit
    names = [f"{node.outputs[0]}, matrix" for node in (squeeze, excite)]
    constants[names[0]] = constants[squeeze.inputs[1]][:, :, 0, 0]
    constants[names[1]] = np.ascontiguousarray(constants[excite.inputs[1]][:, :, 0, 0].T)
    (shortcut,) = {*added.inputs} - {scaled.outputs[0]}
    return Node("Excitation", (mean.inputs[0], mean.outputs[0], *names, shortcut), added.outputs, {})
