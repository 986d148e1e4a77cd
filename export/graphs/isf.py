"""The ISF head's graph: (w, attributes, z, row_strength) -> w_edited, float32 [N, L, D].

The condition network's MLPs per row are one wide and two batched matrix products.
"""

from __future__ import annotations

import onnx
import torch
from torch import nn

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.layers import (
    BATCH,
    array,
    reshaped,
    write_layer,
    write_layers,
    write_linear,
    write_linear_per_row,
)
from export.networks.isf import AdaptiveNorm, ConditionNetwork, Isf


def onnx_from_isf(isf: Isf, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``isf(w, attributes, z, row_strength)``."""
    graph = GraphWriter("isf", "ISF head: W+ codes w, target attributes and noise z -> edited codes w_edited")
    network = isf.w_net
    assert isinstance(network.z_net, ConditionNetwork)
    with graph.scope("w_net"):
        with graph.scope("z_net"):
            condition = _write_condition(graph, network.z_net)
        edited = _write_modulated(graph, network.adain, condition)
        with graph.scope("fc"):
            edited = _write_layers_per_row(graph, edited, network.fc)
    if isf.residual:
        edited = graph.node("Add", edited, "w")
    strength = graph.node("Unsqueeze", "row_strength", [2])
    graph.node("Add", "w", graph.node("Mul", strength, graph.node("Sub", edited, "w")), named="w_edited")
    return graph.model(signature)


def _write_condition(graph: GraphWriter, network: ConditionNetwork) -> str:
    """Add the map (z, attributes) -> one condition per head, [N, heads, D]."""
    x = graph.node("Concat", "z", "attributes", axis=1)
    with graph.scope("shared"):
        x = write_layers(graph, x, network.shared)
    linears = [layer for layer in network.unshared.modules() if isinstance(layer, nn.Linear)]
    first, *others = (linears[level::3] for level in range(3))
    with graph.scope("unshared"):
        # One wide product, not one broadcast over the heads: OpenVINO 2026.4 fails on a batched product whose left
        # operand lacks the batch.
        weight = torch.cat([layer.weight for layer in first])
        x = write_linear(graph, x, weight, torch.cat([layer.bias for layer in first]))
        x = graph.node("Transpose", reshaped(graph, x, BATCH, len(first), first[0].out_features), perm=[1, 0, 2])
        for level in others:
            x = _write_products(graph, graph.node("Relu", x), level)  # [heads, N, D]
        return graph.node("Transpose", x, perm=[1, 0, 2])


def _write_products(graph: GraphWriter, x: str, linears: list[nn.Linear]) -> str:
    """Add the product of each head's row with its own layer, [heads, N, D]."""
    weight = graph.constant(array(torch.stack([layer.weight.T for layer in linears])), "weight")
    bias = graph.constant(array(torch.stack([layer.bias[None] for layer in linears])), "bias")
    return graph.node("Add", graph.node("MatMul", x, weight), bias)


def _write_modulated(graph: GraphWriter, norm: AdaptiveNorm | None, condition: str) -> str:
    if norm is None:
        return graph.node("Add", "w", condition)
    with graph.scope("adain"):
        with graph.scope("fc"):
            condition = write_linear_per_row(graph, condition, norm.fc)
        gamma, beta = graph.outputs("Split", [condition], ["gamma", "beta"], axis=2, num_outputs=2)
        with graph.scope("norm"):
            normalised = write_layer(graph, "w", norm.norm)
        return graph.node("Add", graph.node("Mul", graph.node("Add", gamma, 1.0), normalised), beta)


def _write_layers_per_row(graph: GraphWriter, x: str, layers: nn.Sequential) -> str:
    for name, layer in layers.named_children():
        with graph.scope(name):
            x = write_linear_per_row(graph, x, layer) if isinstance(layer, nn.Linear) else write_layer(graph, x, layer)
    return x
