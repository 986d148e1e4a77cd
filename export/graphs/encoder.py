"""The graphs of encoders: aligned faces, uint8 [N, 256, 256, 3] -> W+ codes, float32 [N, L, D]."""

from __future__ import annotations

import numpy as np
import onnx
from torch import nn

from engines.contract.arrays import AnyArray
from engines.contract.tensors import FACE_SIZE, Signature
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
from export.networks.encoder import LAST, AllRowsEncoder, Encoder, HeadsEncoder, OneCodeEncoder, StyleHead
from export.networks.trunk import BasicBlock, Bottleneck, SqueezeExcitation
from export.weights import POOLED


def onnx_from_encoder(encoder: Encoder, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``encoder(input_from_face(face))``."""
    graph = GraphWriter("encoder", "encoder: aligned RGB faces -> W+ codes w")
    codes = write_codes(graph, encoder, write_input_from_face(graph))
    graph.node("Add", codes, graph.constant(array(encoder.latent_avg), "latent_avg"), named="w")
    return graph.model(signature)


def write_codes(graph: GraphWriter, encoder: Encoder, x: str) -> str:
    """Add the nodes of ``encoder.codes(x)``; return the name of the codes."""
    match encoder:
        case HeadsEncoder():
            return _write_heads(graph, encoder, x)
        case OneCodeEncoder():
            return _write_one_code(graph, encoder, x)
        case AllRowsEncoder():
            return _write_all_rows(graph, encoder, x)
    raise TypeError(type(encoder))


def _write_heads(graph: GraphWriter, encoder: HeadsEncoder, x: str) -> str:
    finest = min(encoder.level_of(row) for row in range(len(encoder.styles)))
    levels = _write_levels(graph, encoder, _write_trunk(graph, encoder, x), finest)
    rows: list[str] = []
    for row, head in enumerate(encoder.styles):
        assert isinstance(head, StyleHead)
        with graph.scope(f"styles.{row}"):
            code = _write_head(graph, head, levels[encoder.level_of(row)])
            code = graph.node("Add", rows[0], code) if rows and encoder.kind == "e4e" else code
        rows.append(code)
    return graph.node("Concat", *(graph.node("Unsqueeze", row, [1]) for row in rows), axis=1)


def _write_one_code(graph: GraphWriter, encoder: OneCodeEncoder, x: str) -> str:
    mean = graph.node("ReduceMean", _write_trunk(graph, encoder, x)[LAST], [2, 3], keepdims=0)
    with graph.scope("linear"):
        code = write_linear(graph, mean, encoder.linear.scaled_weight(), encoder.linear.bias)
    return graph.node("Unsqueeze", code, [1])


def _write_all_rows(graph: GraphWriter, encoder: AllRowsEncoder, x: str) -> str:
    x = _write_trunk(graph, encoder, x)[LAST]
    norm, _, _, linear = encoder.output_layer_2
    assert isinstance(linear, nn.Linear)
    with graph.scope("output_layer_2"):
        x = write_layer(graph, x, norm)
        # A mean over windows of unequal sizes is a matrix product along each axis.
        means = _window_means(FACE_SIZE // 16, POOLED)
        x = graph.node("MatMul", means, graph.node("MatMul", x, means.T))
        x = write_layer(graph, reshaped(graph, x, BATCH, linear.in_features), linear)
    with graph.scope("linear"):
        x = write_linear(graph, x, encoder.linear.scaled_weight(), encoder.linear.bias)
    return reshaped(graph, x, BATCH, *encoder.latent_avg.shape)


def _window_means(size: int, pooled: int) -> AnyArray:
    """Return the matrix [pooled, size] of ``AdaptiveAvgPool2d`` along one axis."""
    starts = np.arange(pooled) * size // pooled
    ends = -(-(np.arange(pooled) + 1) * size // pooled)
    inside = (np.arange(size) >= starts[:, None]) & (np.arange(size) < ends[:, None])
    means: AnyArray = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
    return means


def _write_trunk(graph: GraphWriter, encoder: Encoder, x: str) -> list[str]:
    """Add stem and residual units; return the names of the maps as ``TrunkNetwork.maps`` does."""
    with graph.scope("input_layer"):
        x = write_layers(graph, x, encoder.input_layer)
    taps = []
    for number, block in enumerate(encoder.body):
        with graph.scope(f"body.{number}"):
            x = _write_unit(graph, block, x)
        if number in encoder.taps:
            taps.append(x)
    return taps


def _write_unit(graph: GraphWriter, unit: nn.Module, x: str) -> str:
    match unit:
        case Bottleneck():
            return _write_bottleneck(graph, unit, x)
        case BasicBlock():
            return _write_block(graph, unit, x)
        case shortcut:
            return write_layer(graph, x, shortcut)


def _write_levels(graph: GraphWriter, encoder: HeadsEncoder, taps: list[str], finest: int) -> dict[int, str]:
    """Add the pyramid's levels from the coarsest to ``finest``; see ``HeadsEncoder.levels``."""
    levels = {LAST: taps[LAST]}
    for level in range(LAST - 1, finest - 1, -1):
        name = ("latlayer2", "latlayer1")[level]
        with graph.scope(name):
            levels[level] = _write_lateral(graph, levels[level + 1], taps[level], getattr(encoder, name))
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


def _write_block(graph: GraphWriter, block: BasicBlock, x: str) -> str:
    layers = {"conv1": (block.conv1, block.bn1), "conv2": (block.conv2, block.bn2)}
    y = x
    for name, pair in layers.items():
        with graph.scope(name):
            y = write_layers(graph, y, nn.Sequential(*pair))
            y = graph.node("Relu", y) if name == "conv1" else y
    if block.downsample is not None:
        with graph.scope("downsample"):
            x = write_layers(graph, x, block.downsample)
    return graph.node("Relu", graph.node("Add", y, x))


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
