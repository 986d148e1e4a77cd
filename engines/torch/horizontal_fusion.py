"""Horizontal fusion: layers of equal shape that do not depend on each other run in one launch.

An encoder's style heads are chains of convolutions of small maps, each of which leaves most of a GPU idle. Those that
read one map are fused into a single convolution, whose channels are those of all of them; what follows in each chain is
fused with its likes in turn, convolutions as groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import AnyArray
from engines.graph.onnx_graph import Node, OnnxGraph

_ELEMENTWISE = ("LeakyRelu", "Relu", "Sigmoid")
"""Operators with a single input which treat all channels alike."""


@dataclass(frozen=True)
class _Layer:
    """Nodes that are fused: one of each chain, with the value that all or their predecessors' fused node give."""

    nodes: tuple[Node, ...]
    value: str


def fused_horizontally(graph: OnnxGraph, outputs: frozenset[str]) -> OnnxGraph:
    """Return the graph with its parallel chains of convolutions fused; ``outputs`` are the names that it must give."""
    readers, constants = graph.readers, dict(graph.constants)
    places = {node.outputs[0]: place for place, node in enumerate(graph.nodes)}
    replaced: dict[str, tuple[Node, ...]] = {}
    for first in _first_layers(graph.nodes, constants):
        layer: _Layer | None = first
        while layer is not None:
            following = _next_layer(layer, readers, constants, outputs)
            fused = _fused(layer, constants, grouped=layer is not first)
            apart = () if following else (_split(layer, fused),)
            replaced |= {node.outputs[0]: () for node in layer.nodes}
            # The earliest place, since chains need not end in the order in which they begin.
            replaced[min((node.outputs[0] for node in layer.nodes), key=places.__getitem__)] = (fused, *apart)
            layer = following
    nodes = [new for node in graph.nodes for new in replaced.get(node.outputs[0], (node,))]
    return OnnxGraph(graph.name, tuple(nodes), constants)


def _first_layers(nodes: Sequence[Node], constants: Mapping[str, AnyArray]) -> Iterator[_Layer]:
    """Find convolutions of one map that differ in their weights only."""
    groups: dict[Hashable, list[Node]] = defaultdict(list)
    for node in nodes:
        if _is_convolution(node, constants):
            groups[node.inputs[0], _kind(node, constants)].append(node)
    for group in groups.values():
        if len(group) > 1:
            yield _Layer(tuple(group), group[0].inputs[0])


def _next_layer(
    layer: _Layer, readers: Mapping[str, Sequence[Node]], constants: Mapping[str, AnyArray], outputs: frozenset[str]
) -> _Layer | None:
    """Return the only readers of a layer's values, if they are of one kind that can be fused."""
    values = [node.outputs[0] for node in layer.nodes]
    if any(len(readers[value]) != 1 for value in values) or not outputs.isdisjoint(values):
        return None
    following = [readers[value][0] for value in values]
    fusible = all(
        node.inputs[0] == value and (node.operator in _ELEMENTWISE or _is_convolution(node, constants))
        for node, value in zip(following, values, strict=True)
    )
    if not fusible or len({_kind(node, constants) for node in following}) != 1:
        return None
    return _Layer(tuple(following), _fused_name(layer))


def _is_convolution(node: Node, constants: Mapping[str, AnyArray]) -> bool:
    weights = node.inputs[1:]
    return node.operator == "Conv" and node.attributes.get("group", 1) == 1 and all(n in constants for n in weights)


def _kind(node: Node, constants: Mapping[str, AnyArray]) -> Hashable:
    shapes = tuple(constants[name].shape for name in node.inputs[1:])
    return node.operator, shapes, tuple(sorted(node.attributes.items()))


def _fused(layer: _Layer, constants: dict[str, AnyArray], *, grouped: bool) -> Node:
    """Make the node that stands for a layer's, and add its weights to the constants."""
    first, name = layer.nodes[0], _fused_name(layer)
    inputs = [layer.value]
    for number in range(1, len(first.inputs)):
        inputs.append(f"{name} {number}")
        constants[inputs[-1]] = np.concatenate([constants[node.inputs[number]] for node in layer.nodes])
    groups = {"group": len(layer.nodes)} if grouped and first.operator == "Conv" else {}
    return Node(first.operator, tuple(inputs), (name,), {**first.attributes, **groups})


def _split(layer: _Layer, fused: Node) -> Node:
    """Give a fused node's channels the names of those that it stands for."""
    values = tuple(node.outputs[0] for node in layer.nodes)
    return Node("Split", fused.outputs, values, {"axis": 1, "num_outputs": len(values)})


def _fused_name(layer: _Layer) -> str:
    return f"{layer.nodes[0].outputs[0]} and {len(layer.nodes) - 1} more"
