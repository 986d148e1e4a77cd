"""The graph of a ReStyle encoder: encoder and decoder, once for each step, which share their weights.

The encoder whose code they correct, if there is one, comes first, with its decoder.

All nodes are standard operators, so that every engine runs it like any other encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from torch import nn

from engines.contract.tensors import FACE_SIZE, Signature
from engines.graph.writer import GraphWriter
from export.graphs.encoder import write_codes
from export.graphs.generator import write_demodulation, write_synthesis
from export.graphs.layers import array, write_input_from_face
from export.graphs.operands import ConstantOperands, ConvolutionOperands
from export.networks.encoder import Encoder
from export.networks.generator import LEAKY_SLOPE, Generator, SynthesisLayer
from export.networks.restyle import Restyle, picture_of


def onnx_from_restyle(network: Restyle, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``network(input_from_face(face))``."""
    graph = GraphWriter("encoder", f"ReStyle encoder of {network.steps} steps: aligned RGB faces -> W+ codes w")
    face = write_input_from_face(graph)
    codes, w = _write_steps(graph, network, face)
    graph.node("Add", codes, w, named="w")
    return graph.model(signature)


def _write_steps(graph: GraphWriter, network: Restyle, face: str) -> tuple[str, str]:
    """Add all steps but the last sum; return the names of its operands, the last correction and what it corrects."""
    w, picture = _write_start(graph, network, face)
    encode = _recorded(
        graph, picture, lambda picture: write_codes(graph, network.encoder, graph.node("Concat", face, picture, axis=1))
    )
    codes, decode = encode.output, None
    for step in range(1, network.steps):
        w = graph.node("Add", codes, w)
        if decode is None:
            decode = _recorded(graph, w, lambda w: _write_picture(graph, network.decoder, w))
            picture = decode.output
        else:
            picture = decode.again(w, f"step.{step}")
        codes = encode.again(picture, f"step.{step}")
    return codes, w


def _write_start(graph: GraphWriter, network: Restyle, face: str) -> tuple[str, str]:
    """Add the code that is corrected first, and the picture of it; see ``Restyle.start``."""
    if network.first:
        with graph.scope("first"):
            w = _write_code(graph, network.first.encoder, face)
            return w, _write_picture(graph, network.first.decoder, w)
    average = network.encoder.latent_avg
    w = graph.constant(array(average), "latent_avg")
    picture = graph.constant(array(picture_of(network.decoder, average[None])), "average_picture")
    # The sum has the face's batch, without an operator whose shape depends on data.
    return w, graph.node("Add", graph.node("Mul", face, 0.0), picture)


def _write_code(graph: GraphWriter, encoder: Encoder | Restyle, face: str) -> str:
    """Add an encoder with its last sum; return the name of the code."""
    if isinstance(encoder, Restyle):
        return graph.node("Add", *_write_steps(graph, encoder, face))
    average = graph.constant(array(encoder.latent_avg), "latent_avg")
    return graph.node("Add", write_codes(graph, encoder, face), average)


@dataclass(frozen=True)
class _Part:
    """A part of the graph that can be added again with another input."""

    graph: GraphWriter
    nodes: Sequence[onnx.NodeProto]
    input: str
    output: str

    def again(self, value: str, scope: str) -> str:
        """Add the part once more, for another input; return the name of its output."""
        return self.graph.repeat(self.nodes, {self.input: value}, scope)[self.output]


def _recorded(graph: GraphWriter, value: str, write: Callable[[str], str]) -> _Part:
    start = len(graph.nodes)
    output = write(value)
    return _Part(graph, list(graph.nodes[start:]), value, output)


def _write_picture(graph: GraphWriter, decoder: Generator, w: str) -> str:
    """Add the nodes of ``picture_of``; return the picture's name."""
    blocks = dict(decoder.blocks)
    with graph.scope("decoder"):
        slices = [graph.node("Slice", w, [row], [row + 1], [1]) for row in range(2 * len(blocks))]
        rows = [graph.node("Squeeze", part, [1]) for part in slices]
        image = write_synthesis(graph, decoder, rows, ConstantOperands(graph, decoder), _write_convolution)
        return _write_face_size(graph, image, max(blocks))


def _write_face_size(graph: GraphWriter, image: str, resolution: int) -> str:
    """Add an adaptive average pooling to the size of a face, which repeats the pixels of smaller images."""
    if resolution >= FACE_SIZE:
        factor = [resolution // FACE_SIZE] * 2
        return image if factor == [1, 1] else graph.node("AveragePool", image, kernel_shape=factor, strides=factor)
    factor = [FACE_SIZE // resolution] * 2
    ones = np.ones((3, 1, *factor), np.float32)
    return graph.node("ConvTranspose", image, ones, strides=factor, pads=[0] * 4, group=3)


def _write_convolution(graph: GraphWriter, layer: nn.Module, x: str, style: str, operands: ConvolutionOperands) -> str:
    """Add a modulated convolution in standard operators; see ``export.graphs.functions``."""
    assert isinstance(layer, SynthesisLayer)
    demodulation = write_demodulation(graph, style, operands)
    x = graph.node("Mul", x, graph.node("Unsqueeze", style, [2, 3]))
    if layer.up:
        channels = len(layer.weight)
        fir = graph.constant(array(layer.fir.expand(channels, 1, 4, 4)), "fir")
        x = graph.node("ConvTranspose", x, operands.weight, strides=[2, 2], pads=[0] * 4, group=1)
        x = graph.node("Conv", x, fir, pads=[1] * 4, group=channels)
    else:
        x = graph.node("Conv", x, operands.weight, pads=[1] * 4)
    x = graph.node("Mul", x, graph.node("Unsqueeze", demodulation, [2, 3]))
    x = graph.node("Add", graph.node("Add", x, operands.noise), graph.node("Unsqueeze", operands.bias, [1, 2]))
    x = graph.node("LeakyRelu", x, alpha=LEAKY_SLOPE)
    return x if layer.clamp is None else graph.node("Clip", x, -layer.clamp, layer.clamp)
