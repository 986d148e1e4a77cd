"""StyleGAN1's graph: (w, psi) -> uint8 pictures, of standard operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from engines.contract.tensors import Signature
from engines.graph.writer import GraphWriter
from export.graphs.codes import write_picture, write_rows
from export.graphs.layers import array
from export.networks.generator import LEAKY_SLOPE
from export.networks.stylegan1 import INSTANCE_EPSILON, PlainToRgb, StyledLayer, StyleGan1

_CONVOLUTION: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}
_POINTWISE: dict[str, Any] = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}


def onnx_from_stylegan1(generator: StyleGan1, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``picture_from_output(generator(w, psi))``."""
    graph = GraphWriter("generator", "StyleGAN1's generator: W+ codes w and truncation psi -> RGB pictures")
    blocks = list(generator.blocks)
    rows = iter(write_rows(graph, generator, 2 * len(blocks)))
    x = ""
    for resolution, block in blocks:
        with graph.scope(f"synthesis.{resolution}"):
            if not x:
                # Nothing before the first style depends on the code.
                x = graph.constant(array(block.up.normalised(block.const[None])), "normalised_const")
            else:
                x = _write_normalised(graph, "up", block.up, x)
            x = _write_style(graph, "up", block.up, x, next(rows))
            x = _write_normalised(graph, "conv", block.conv, x)
            x = _write_style(graph, "conv", block.conv, x, next(rows))
    with graph.scope(f"synthesis.{blocks[-1][0]}.rgb"):
        image = _write_to_rgb(graph, blocks[-1][1].rgb, x)
    write_picture(graph, image)
    return graph.model(signature)


def _write_normalised(graph: GraphWriter, name: str, layer: StyledLayer, x: str) -> str:
    """Add the nodes of ``StyledLayer.normalised``."""
    channels = len(layer.bias)
    bias = array(layer.bias)
    with graph.scope(name):
        if layer.up:
            # It takes 4 multiplications for a pixel and two channels, a convolution of repeated pixels 9.
            weight = graph.constant(array(layer.doubling_weight().contiguous()), "weight")
            x = graph.node("ConvTranspose", x, weight, strides=[2, 2], pads=[1, 1, 1, 1])
            blur = graph.constant(array(layer.blur), "blur"), graph.constant(bias, "bias")
            x = graph.node("Conv", x, *blur, **_CONVOLUTION, group=channels)
        else:
            weight = graph.constant(array(layer.scaled_weight()), "weight")
            x = graph.node("Conv", x, weight, graph.constant(bias, "bias"), **_CONVOLUTION, group=1)
        noise = graph.constant(array(layer.noise[None, None]), "noise")
        strength = graph.constant(array(layer.noise_strength[:, None, None]), "noise_strength")
        x = graph.node("Add", x, graph.node("Mul", noise, strength))
        x = graph.node("LeakyRelu", x, alpha=LEAKY_SLOPE)
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return graph.node("InstanceNormalization", x, ones, zeros, epsilon=INSTANCE_EPSILON)


def _write_style(graph: GraphWriter, name: str, layer: StyledLayer, x: str, row: str) -> str:
    """Add the style's scales and shifts of a row of w."""
    with graph.scope(f"{name}.affine"):
        weight = graph.constant(array(layer.affine.scaled_weight()), "weight")
        style = graph.node("Gemm", row, weight, graph.constant(array(layer.affine.bias), "bias"), transB=1)
        style = graph.node("Unsqueeze", style, [2, 3])
        scale, shift = graph.outputs("Split", [style], ["scale", "shift"], axis=1, num_outputs=2)
        return graph.node("Add", graph.node("Mul", x, scale), shift)


def _write_to_rgb(graph: GraphWriter, layer: PlainToRgb, x: str) -> str:
    weight = graph.constant(array(layer.scaled_weight()[:, :, None, None]), "weight")
    return graph.node("Conv", x, weight, graph.constant(array(layer.bias), "bias"), **_POINTWISE, group=1)
