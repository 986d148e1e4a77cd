"""The graphs that TensorRT builds plans of: strongly typed, for one batch size or, with native layers, for any.

A generator in half precision is rebuilt from its weights with the operators that plugins compute:

- each up-convolution is one ``ConvUp``, or a ConvTranspose followed by a ``Tail``;
- each resolution's last convolution and its ToRGB are one ``ConvRgb``, or a Conv followed by a ``ToRgb``;
- maps and their weights are float16; styles, demodulation, biases and images stay float32; standard operators convert
  the last image to the picture, since plugins have no uint8 outputs.

A node has the attributes by which TensorRT's parser finds a plugin, ``plugin_namespace``, ``plugin_version`` and
``aot``, and the plugin's own attributes ``clamp`` (infinite = none) and ``capability`` (of the GPU, times 10). Its
function body is used if there is no plugin; with all functions inlined, the graph consists of native layers.

For other networks and for float32, the graph is the exported one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.graph.generator_weights import (
    ExportedGeneratorWeights,
    ModulatedConvWeights,
    generator_weights_from_graph,
    is_generator,
)
from engines.graph.onnx_graph import read_graph, read_model
from engines.graph.writer import GraphWriter, Operand
from engines.kernels.conv_rgb import MAX_CHANNELS_OUT
from engines.kernels.weights import NormalisedWeight, normalise_weight
from engines.model_directory import Precision
from engines.tensorrt.functions import function_of
from engines.tensorrt.operators import (
    CONV_RGB,
    CONV_UP,
    DOMAIN,
    LAST_CONV_RGB,
    LAST_TO_RGB,
    OPERATORS,
    TAIL,
    TO_RGB,
    Operator,
)
from engines.tensorrt.styles import write_styles
from engines.torch.layer_backends import FUSED_FROM


def graph_with_plugins(
    weights: ExportedGeneratorWeights,
    signature: Signature,
    batch: int,
    *,
    capability: int,
    fused_from: float = FUSED_FROM,
) -> ModelProto:
    """A generator in half precision, whose fused operators are plugins.

    Args:
        weights: the generator's weights.
        signature: its inputs and output.
        batch: the only batch size.
        capability: the GPU's compute capability times 10, one of ``engines.kernels.capabilities.CAPABILITIES``.
        fused_from: the lowest resolution whose convolutions are plugins, if their channels are not too many.
    """
    return _GeneratorGraph(weights, batch, capability, fused_from).build(signature)


def graph_of_native_layers(weights: ExportedGeneratorWeights, signature: Signature, batch: int | None) -> ModelProto:
    """A generator in half precision without plugins; if ``batch`` is None, for batches of any size."""
    # Imported on demand: it takes seconds, and the graph with plugins does not need it.
    import onnxscript.optimizer

    functions = _GeneratorGraph(weights, batch, capability=0, fused_from=math.inf).build(signature)
    inlined = onnx.inliner.inline_local_functions(functions)
    # TensorRT requires constants where the functions compute on constants, as for a FIR filter for each channel.
    folded: ModelProto = onnxscript.optimizer.optimize(inlined, onnx_shape_inference=False)
    return folded


def graph_without_plugins(model: Path, signature: Signature, batch: int | None, precision: Precision) -> ModelProto:
    """The graph of an exported file without plugins; if ``batch`` is None, for batches of any size.

    Raises:
        EngineError: the file is no model that this package exported.
    """
    exported = read_graph(model)
    if precision != "fp16" or not is_generator(exported):
        return exported_graph(read_model(model), batch, precision)
    return graph_of_native_layers(generator_weights_from_graph(exported, signature), signature, batch)


def exported_graph(model: ModelProto, batch: int | None, precision: Precision) -> ModelProto:
    """An exported model for one batch size or, if ``batch`` is None, for any.

    With "fp16", its arithmetic and constants are in half precision. Every node has a name of its own, by which TensorRT
    reports and profiles its layer.
    """
    graph = onnx.inliner.inline_local_functions(model)
    for node in graph.graph.node:
        node.name = node.name or node.output[0]  # nodes of a function have no names
    if batch is not None:
        for value in [*graph.graph.input, *graph.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    graph.graph.ClearField("value_info")
    if precision == "fp32":
        return graph
    # Imported on demand: only a build in half precision needs it.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: ModelProto = convert_float_to_float16(graph, keep_io_types=True, disable_shape_infer=True)
    return halved


def plugin_nodes(model: ModelProto) -> int:
    """The number of nodes that become plugins."""
    return sum(node.domain == DOMAIN for node in model.graph.node)


@dataclass(frozen=True)
class _ConvLayer:
    """A convolution; ``style`` and ``demodulation`` are names of tensors in the graph."""

    kernel: NormalisedWeight
    convolution: ModulatedConvWeights
    style: str
    demodulation: str

    @property
    def activation(self) -> list[str | AnyArray]:
        """The operands of a kernel's activation, in order."""
        return [self.demodulation, self.convolution.noise.astype(np.float16), self.convolution.bias]


class _GeneratorGraph:
    def __init__(
        self, weights: ExportedGeneratorWeights, batch: int | None, capability: int, fused_from: float
    ) -> None:
        self.weights, self.batch, self.fused_from = weights, batch, fused_from
        # A network clamps all its layers or none.
        self.clamp = weights.convolutions[0].clamp or math.inf
        self.attributes = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}
        self.attributes |= {"clamp": self.clamp, "capability": capability}
        self.graph = GraphWriter("generator")

    def build(self, signature: Signature) -> ModelProto:
        convolutions = self.weights.convolutions
        kernels = [normalise_weight(torch.tensor(convolution.weight)) for convolution in convolutions]
        names = write_styles(self.graph, self.weights, kernels)
        parts = zip(kernels, convolutions, names.styles, names.demodulations, strict=True)
        layers = [_ConvLayer(*part) for part in parts]
        x = self.constant_input(layers[0])
        # The lowest resolution adds to a black image, so that all resolutions are alike. Without a fixed batch size,
        # it is a single image, which native layers broadcast.
        image = self.graph.constant(np.zeros((self.batch or 1, 3, 2, 2), np.float32))
        for level, resolution in enumerate(self.weights.resolutions):
            last, following = layers[2 * level], layers[2 * level + 1 : 2 * level + 2]
            if level > 0:
                x = self.upsample_conv(layers[2 * level - 1], last.style, x)
            rgb: list[Operand] = [resolution.rgb.weight, names.rgb_styles[level], resolution.rgb.bias, image]
            *styled, image = self.conv_to_rgb(last, x, rgb, [layer.style for layer in following])
            x = "".join(styled)
        self.write_picture(image)
        used = {node.op_type for node in self.graph.nodes if node.domain == DOMAIN}
        functions = [function_of(OPERATORS[name], self.clamp) for name in sorted(used)]
        model = self.graph.model(signature, self.batch, functions)
        onnx.checker.check_model(model)
        return model

    def constant_input(self, layer: _ConvLayer) -> str:
        """Each sample's first map: the network's constant times the first style."""
        styled = self.graph.node("Mul", self.weights.constant, self.graph.node("Unsqueeze", layer.style, [2, 3]))
        return self.graph.node("Cast", styled, to=TensorProto.FLOAT16)

    def upsample_conv(self, layer: _ConvLayer, style: str, x: str) -> str:
        channels, size = len(layer.convolution.weight), len(layer.convolution.noise)
        if size < self.fused_from:
            kernel = _half(layer.kernel.kernel.transpose(0, 1))
            x = self.graph.node("ConvTranspose", x, kernel, strides=[2, 2])
            return self.operator(TAIL, x, *layer.activation, style, channels=channels)[0]
        kernel = _half(layer.kernel.half_merged.permute(0, 2, 3, 1))
        shapes = {"phases": [0, 2, channels, size, size // 2], "shape": [0, channels, size, size]}
        return self.operator(CONV_UP, x, kernel, *layer.activation, style, pairs=2 * channels, **shapes)[0]

    def conv_to_rgb(self, layer: _ConvLayer, x: str, rgb: list[Operand], next_style: list[str]) -> list[str]:
        """The next resolution's input, if one follows, and the sum of the images so far."""
        channels, size = len(layer.convolution.weight), len(layer.convolution.noise)
        operands = [*layer.activation, *rgb, *next_style]
        if size >= self.fused_from and channels <= MAX_CHANNELS_OUT:
            kernel = _half(layer.kernel.half.permute(0, 2, 3, 1))
            return self.operator(CONV_RGB if next_style else LAST_CONV_RGB, x, kernel, *operands)
        x = self.graph.node("Conv", x, _half(layer.kernel.half), pads=[1, 1, 1, 1])
        return self.operator(TO_RGB if next_style else LAST_TO_RGB, x, *operands)

    def write_picture(self, image: str) -> None:
        """Add the nodes of ``engines.kernels.reference.picture``."""
        levels = self.graph.node("Add", self.graph.node("Mul", image, 127.5), 128.0)
        clamped = self.graph.node("Clip", levels, 0.0, 255.0)
        self.graph.node(
            "Cast", self.graph.node("Transpose", clamped, perm=[0, 2, 3, 1]), to=TensorProto.UINT8, named="image"
        )

    def operator(self, operator: Operator, *inputs: Operand, **shapes: int | list[int]) -> list[str]:
        attributes = {**self.attributes, **shapes}
        return self.graph.outputs(operator.name, inputs, operator.outputs, domain=DOMAIN, **attributes)


def _half(kernel: Tensor) -> AnyArray:
    array: AnyArray = kernel.half().contiguous().numpy()
    return array
