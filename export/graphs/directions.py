"""The graph of linear directions: (w, attributes, row_strength) -> w_edited, float32 [N, L, D]."""

from __future__ import annotations

import onnx

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.layers import BATCH, array, reshaped
from export.networks.directions import Directions


def onnx_from_directions(network: Directions, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``network(w, attributes, row_strength)``."""
    graph = GraphWriter("directions", "Linear directions: W+ codes w and attributes -> edited codes w_edited")
    _, rows, width = network.directions.shape
    directions = graph.constant(array(network.directions.flatten(1)), "directions")
    offset = reshaped(graph, graph.node("MatMul", "attributes", directions), BATCH, rows, width)
    strength = graph.node("Unsqueeze", "row_strength", [2])
    graph.node("Add", "w", graph.node("Mul", strength, offset), named="w_edited")
    return graph.model(signature)
