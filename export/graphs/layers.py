"""PyTorch's layers as ONNX nodes; constants have the names of the parameters from which they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.contract.arrays import AnyArray
from engines.graph.writer import GraphWriter

BATCH = -1
"""The size of the batch in the shape of a Reshape."""


def array(tensor: Tensor) -> AnyArray:
    """Return a parameter as an array."""
    values: AnyArray = tensor.detach().numpy()
    return values


def write_input_from_face(graph: GraphWriter) -> str:
    """Add the nodes of ``export.networks.encoder.input_from_face`` for the graph's input face."""
    # TensorRT knows uint8 as an input of Cast only.
    x = graph.node("Transpose", graph.node("Cast", "face", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    return graph.node("Sub", graph.node("Div", x, 127.5), 1.0)


def write_layers(graph: GraphWriter, x: str, layers: nn.Sequential) -> str:
    """Add layers one after the other; a batch normalisation after a convolution becomes part of the convolution."""
    for name, layer in _folded(layers).items():
        with graph.scope(name):
            x = write_layer(graph, x, layer)
    return x


def _folded(layers: nn.Sequential) -> dict[str, nn.Module]:
    folded: dict[str, nn.Module] = {}
    last = ""
    for name, layer in layers.named_children():
        before = folded.get(last)
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
            folded[last] = fuse_conv_bn_eval(before, layer)
        else:
            folded[name], last = layer, name
    return folded


def write_layer(graph: GraphWriter, x: str, layer: nn.Module) -> str:
    """Add one layer, of a kind that is in ``_WRITERS``."""
    return _WRITERS[type(layer)](graph, x, layer)


def write_linear(graph: GraphWriter, x: str, weight: Tensor, bias: Tensor) -> str:
    """Add x W^T + b for x [N, I], weight [O, I] and bias [O]."""
    operands = graph.constant(array(weight), "weight"), graph.constant(array(bias), "bias")
    return graph.node("Gemm", x, *operands, transB=1)


def write_linear_per_row(graph: GraphWriter, x: str, layer: nn.Linear) -> str:
    """Add a linear layer for x [N, L, I], each of whose rows it maps."""
    product = graph.node("MatMul", x, graph.constant(array(layer.weight.T), "weight"))
    return graph.node("Add", product, graph.constant(array(layer.bias), "bias"))


def write_convolution(graph: GraphWriter, x: str, layer: nn.Conv2d) -> str:
    """Add a convolution with its bias, if it has one."""
    parameters = {"weight": layer.weight, "bias": layer.bias}
    operands = [graph.constant(array(value), name) for name, value in parameters.items() if value is not None]
    padding = [int(size) for size in layer.padding]
    return graph.node(
        "Conv",
        x,
        *operands,
        kernel_shape=[*layer.kernel_size],
        strides=[*layer.stride],
        pads=[*padding, *padding],
        dilations=[*layer.dilation],
        group=layer.groups,
    )


def _write_batch_norm(graph: GraphWriter, x: str, layer: nn.BatchNorm2d) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    parameters = [graph.constant(array(getattr(layer, name)), name) for name in names]
    return graph.node("BatchNormalization", x, *parameters, epsilon=layer.eps)


def _write_layer_norm(graph: GraphWriter, x: str, layer: nn.LayerNorm) -> str:
    weight = torch.ones(layer.normalized_shape) if layer.weight is None else layer.weight
    bias = torch.zeros(layer.normalized_shape) if layer.bias is None else layer.bias
    operands = graph.constant(array(weight), "weight"), graph.constant(array(bias), "bias")
    return graph.node("LayerNormalization", x, *operands, axis=-1, epsilon=layer.eps)


def _write_prelu(graph: GraphWriter, x: str, layer: nn.PReLU) -> str:
    return graph.node("PRelu", x, graph.constant(array(layer.weight)[:, None, None], "weight"))


def _write_max_pool(graph: GraphWriter, x: str, layer: nn.MaxPool2d) -> str:
    assert isinstance(layer.kernel_size, int)
    assert isinstance(layer.stride, int)
    return graph.node("MaxPool", x, kernel_shape=[layer.kernel_size] * 2, strides=[layer.stride] * 2)


_WRITERS: dict[type[nn.Module], Callable[[GraphWriter, str, Any], str]] = {
    nn.BatchNorm2d: _write_batch_norm,
    nn.Conv2d: write_convolution,
    nn.LayerNorm: _write_layer_norm,
    nn.LeakyReLU: lambda graph, x, layer: graph.node("LeakyRelu", x, alpha=layer.negative_slope),
    nn.Linear: lambda graph, x, layer: write_linear(graph, x, layer.weight, layer.bias),
    nn.MaxPool2d: _write_max_pool,
    nn.PReLU: _write_prelu,
    nn.ReLU: lambda graph, x, layer: graph.node("Relu", x),
    nn.Sequential: write_layers,
}


def reshaped(graph: GraphWriter, x: str, *shape: int) -> str:
    """Add a Reshape to [N, ...]; ``BATCH`` stands for N."""
    return graph.node("Reshape", x, np.array(shape, np.int64))
