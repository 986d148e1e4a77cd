"""The mapping network's graph: z, float32 [N, Z] -> w, float32 [N, L, D], untruncated, with equal rows."""

from __future__ import annotations

from math import sqrt

import numpy as np
import onnx
from torch import nn

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.layers import write_linear
from export.networks.generator import ACTIVATION_GAIN, LEAKY_SLOPE, MAPPING_RATE, NORMALISATION_EPSILON, Mapping


def onnx_from_mapping(mapping: Mapping, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``mapping(z)``, repeated for every row of the signature's w."""
    graph = GraphWriter("mapping", "StyleGAN2's mapping network: noise z -> W+ codes w, untruncated")
    (w,) = signature.outputs
    with graph.scope("mapping"):
        x = _write_normalised(graph)
        for name, linear in mapping.named_children():
            assert isinstance(linear, nn.Linear)
            with graph.scope(name):
                # leaky_relu(a x) = a leaky_relu(x), so the activation's gain costs nothing.
                gain = MAPPING_RATE * ACTIVATION_GAIN
                weight = linear.weight * (gain / sqrt(linear.in_features))
                x = graph.node("LeakyRelu", write_linear(graph, x, weight, linear.bias * gain), alpha=LEAKY_SLOPE)
        repeats = np.array([1, w.dims[0], 1], np.int64)
        graph.node("Tile", graph.node("Unsqueeze", x, [1]), repeats, named=w.name)
    return graph.model(signature)


def _write_normalised(graph: GraphWriter) -> str:
    """Add the division of z by the root of its mean square."""
    mean = graph.node("ReduceMean", graph.node("Mul", "z", "z"), [1])
    return graph.node("Div", "z", graph.node("Sqrt", graph.node("Add", mean, NORMALISATION_EPSILON)))
