"""The encoder's graph: aligned faces, uint8 [N, 256, 256, 3] -> W+ codes, float32 [N, L, D]."""

from __future__ import annotations

import numpy as np
import onnx
from torch import nn

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.layers import (
    BATCH,
    array,
    reshaped,
    write_convolution,
    write_input_from_face,
    write_layer,
    write_layers,
    write_linear,
)
from export.networks.encoder import (
    PYRAMID_TAPS,
    Bottleneck,
    Encoder,
    SqueezeExcitation,
    StyleHead,
    level_of,
)


def onnx_from_encoder(encoder: Encoder, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``encoder(input_from_face(face))``."""
    graph = GraphWriter("encoder", f"{encoder.kind} encoder: aligned RGB faces -> W+ codes w")
    finest = min(level_of(row) for row in range(len(encoder.styles)))
    levels = _write_pyramid(graph, encoder, write_input_from_face(graph), finest)
    rows: list[str] = []
    for row, head in enumerate(encoder.styles):
        assert isinstance(head, StyleHead)
        with graph.scope(f"styles.{row}"):
            code = _write_head(graph, head, levels[level_of(row)])
            code = graph.node("Add", rows[0], code) if rows and encoder.kind == "e4e" else code
        rows.append(code)
    stacked = graph.node("Concat", *(graph.node("Unsqueeze", row, [1]) for row in rows), axis=1)
    graph.node("Add", stacked, graph.constant(array(encoder.latent_avg), "latent_avg"), named="w")
    return graph.model(signature)


def _write_pyramid(graph: GraphWriter, encoder: Encoder, x: str, finest: int) -> dict[int, str]:
    """Add the body and the pyramid's levels from the coarsest, 2, to ``finest``; see ``Encoder.pyramid``."""
    with graph.scope("input_layer"):
        x = write_layers(graph, x, encoder.input_layer)
    taps = []
    for number, block in enumerate(encoder.body):
        assert isinstance(block, Bottleneck)
        with graph.scope(f"body.{number}"):
            x = _write_bottleneck(graph, block, x)
        if number in PYRAMID_TAPS:
            taps.append(x)
    levels = {2: x}
    for level, lateral, name in ((1, encoder.latlayer1, "latlayer1"), (0, encoder.latlayer2, "latlayer2")):
        if level >= finest:
            with graph.scope(name):
                levels[level] = _write_lateral(graph, levels[level + 1], taps[level], lateral)
    return levels


def _write_bottleneck(graph: GraphWriter, block: Bottleneck, x: str) -> str:
    *layers, excitation = block.res_layer
    assert isinstance(excitation, SqueezeExcitation)
    with graph.scope("res_layer"):
        y = write_layers(graph, x, nn.Sequential(*layers))
        with graph.scope(f"{len(layers)}"):
            y = _write_excitation(graph, excitation, y)
    with graph.scope("shortcut_layer"):
        shortcut = write_layer(graph, x, block.shortcut_layer)
    return graph.node("Add", y, shortcut)


def _write_excitation(graph: GraphWriter, layer: SqueezeExcitation, x: str) -> str:
    mean = graph.node("ReduceMean", x, [2, 3], keepdims=1)
    with graph.scope("fc1"):
        squeezed = graph.node("Relu", write_convolution(graph, mean, layer.fc1))
    with graph.scope("fc2"):
        gates = graph.node("Sigmoid", write_convolution(graph, squeezed, layer.fc2))
    return graph.node("Mul", x, gates)


def _write_lateral(graph: GraphWriter, coarser: str, tap: str, layer: nn.Conv2d) -> str:
    scales = np.array([1, 1, 2, 2], np.float32)
    mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    upsampled = graph.node("Resize", coarser, "", scales, **mode)
    return graph.node("Add", upsampled, write_convolution(graph, tap, layer))


def _write_head(graph: GraphWriter, head: StyleHead, x: str) -> str:
    with graph.scope("convs"):
        x = write_layers(graph, x, head.convs)
    with graph.scope("linear"):
        flat = reshaped(graph, x, BATCH, head.linear.weight.shape[1])
        return write_linear(graph, flat, head.linear.scaled_weight(), head.linear.bias)
