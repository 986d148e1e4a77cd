"""The generator's graph: (w, psi) -> uint8 pictures; each modulated 3x3 convolution is one function node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
from torch import nn

from engines.contract.tensors import Signature
from engines.graph.generator_weights import MODULATED_CONV, MODULATED_CONV_UP, WEIGHT_BLEND
from engines.graph.writer import GraphWriter
from export.graphs.codes import write_picture, write_rows
from export.graphs.functions import DOMAIN, PLUGIN_ATTRIBUTES, blend_function, modulated_conv_function
from export.graphs.layers import array
from export.graphs.operands import ConstantOperands, ConvolutionOperands, LayerOperands
from export.networks.generator import (
    ACTIVATION_GAIN,
    DEMODULATION_EPSILON,
    Generator,
    SynthesisLayer,
    ToRgb,
)
from export.weights import row_of

ConvWriter = Callable[[GraphWriter, nn.Module, str, str, ConvolutionOperands], str]


def onnx_from_generator(generator: Generator, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``picture_from_output(generator(w, psi))``."""
    graph = GraphWriter("generator", "StyleGAN2's generator: W+ codes w and truncation psi -> RGB pictures")
    return write_generator(graph, generator, signature, ConstantOperands(graph, generator))


def write_generator(
    graph: GraphWriter, generator: Generator, signature: Signature, operands: LayerOperands
) -> onnx.ModelProto:
    """Write the layers of a generator with the given operands, and finish the graph."""
    blocks = dict(generator.blocks)
    rows = write_rows(graph, generator, 1 + row_of(max(blocks), "rgb"))
    write_picture(graph, write_synthesis(graph, generator, rows, operands, _write_modulated_conv))
    clamp = blocks[4].conv.clamp is not None
    used = {node.op_type for node in graph.nodes if node.domain == DOMAIN}
    functions = [modulated_conv_function(name, clamp=clamp) for name in sorted(used - {WEIGHT_BLEND})]
    blends = [blend_function(1 + signature.transferred)] if signature.transferred else []
    return graph.model(signature, functions=functions + blends)


def write_synthesis(
    graph: GraphWriter, generator: Generator, rows: Sequence[str], operands: LayerOperands, convolution: ConvWriter
) -> str:
    """Add the layers of a generator.

    Args:
        graph: where they are added.
        generator: the network.
        rows: the names of the rows of W+, [N, D] each.
        operands: the constants of the layers, or what takes their place.
        convolution: adds a modulated convolution: graph, layer, input, style, operands -> output.

    Returns:
        The name of the image [N, 3, R, R], nominally in -1..1.
    """
    x, image = operands.constant_input(), ""
    for resolution, block in generator.blocks:
        for name, layer in block.named_children():
            with graph.scope(f"synthesis.{resolution}.{name}"):
                with graph.scope("affine"):
                    style = graph.node(
                        "Gemm", rows[row_of(resolution, name)], *operands.affine(resolution, name), transB=1
                    )
                if name == "rgb":
                    image = _write_to_rgb(graph, layer, x, style, image, operands.to_rgb(resolution))
                else:
                    x = convolution(graph, layer, x, style, operands.convolution(resolution, name))
    return image


def _write_modulated_conv(
    graph: GraphWriter, layer: nn.Module, x: str, style: str, operands: ConvolutionOperands
) -> str:
    assert isinstance(layer, SynthesisLayer)
    demodulation = write_demodulation(graph, style, operands)
    channels = len(layer.weight)
    fir = [graph.constant(array(layer.fir.expand(channels, 1, 4, 4)), "fir")] if layer.up else []
    attributes: dict[str, Any] = {**PLUGIN_ATTRIBUTES, "up": int(layer.up), "channels": channels}
    if layer.clamp is not None:
        attributes["clamp"] = layer.clamp
    inputs = [x, operands.weight, *fir, style, demodulation, operands.noise, operands.bias]
    function = MODULATED_CONV_UP if layer.up else MODULATED_CONV
    return graph.outputs(function, inputs, ["y"], domain=DOMAIN, **attributes)[0]


def write_demodulation(graph: GraphWriter, style: str, operands: ConvolutionOperands) -> str:
    """Add the factors by which demodulation multiplies a convolution's outputs, [N, O]."""
    # rsqrt((q + eps) / 2) = sqrt(2) * rsqrt(q + eps), so the activation's gain costs nothing.
    products = graph.node("MatMul", graph.node("Mul", style, style), operands.squares)
    root = graph.node("Sqrt", graph.node("Add", products, DEMODULATION_EPSILON / ACTIVATION_GAIN**2))
    return graph.node("Reciprocal", root)


def _write_to_rgb(
    graph: GraphWriter, layer: nn.Module, x: str, style: str, skip: str, operands: tuple[str, str]
) -> str:
    """Add ToRGB and the sum with the image of the resolutions below, whose name is empty at the lowest one."""
    assert isinstance(layer, ToRgb)
    weight, bias = operands
    scaled = graph.node("Mul", x, graph.node("Unsqueeze", style, [2, 3]))
    rgb = graph.node("Add", graph.node("Conv", scaled, weight), bias)
    if layer.clamp is not None:
        rgb = graph.node("Clip", rgb, -layer.clamp, layer.clamp)
    if not skip:
        return rgb
    fir = graph.constant(array(layer.fir), "fir")
    return graph.node("Add", graph.node("ConvTranspose", skip, fir, strides=[2, 2], pads=[1, 1, 1, 1], group=3), rgb)
