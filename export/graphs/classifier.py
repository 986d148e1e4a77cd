"""The classifier's graph: aligned faces, uint8 [N, 256, 256, 3] -> probabilities of attributes, float32 [N, A]."""

from __future__ import annotations

from math import sqrt

import onnx
from torch import nn

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.layers import BATCH, reshaped, write_convolution, write_input_from_face, write_layers
from export.networks.classifier import SLOPE, Classifier, ResidualBlock


def onnx_from_classifier(classifier: Classifier, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``sigmoid(classifier(input_from_face(face)))``."""
    graph = GraphWriter("classifier", "classifier of attributes: aligned RGB faces -> probabilities")
    stem, *blocks = classifier.main
    assert isinstance(stem, nn.Conv2d)
    x = write_input_from_face(graph)
    with graph.scope("main.0"):
        x = write_convolution(graph, x, stem)
    for number, block in enumerate(blocks, 1):
        assert isinstance(block, ResidualBlock)
        with graph.scope(f"main.{number}"):
            x = _write_block(graph, block, x)
    with graph.scope("out_cls"):
        x = write_layers(graph, x, classifier.out_cls)
    (probabilities,) = signature.outputs
    logits = reshaped(graph, x, BATCH, *probabilities.dims)
    graph.node("Sigmoid", logits, named=probabilities.name)
    return graph.model(signature)


def _write_block(graph: GraphWriter, block: ResidualBlock, x: str) -> str:
    shortcut = _write_halving(graph, x)
    if block.conv1x1 is not None:
        with graph.scope("conv1x1"):
            shortcut = write_convolution(graph, shortcut, block.conv1x1)
    y = graph.node("LeakyRelu", x, alpha=SLOPE)
    with graph.scope("conv1"):
        y = write_convolution(graph, y, block.conv1)
    y = graph.node("LeakyRelu", _write_halving(graph, y), alpha=SLOPE)
    with graph.scope("conv2"):
        y = write_convolution(graph, y, block.conv2)
    return graph.node("Div", graph.node("Add", shortcut, y), sqrt(2))


def _write_halving(graph: GraphWriter, x: str) -> str:
    return graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
