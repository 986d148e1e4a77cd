"""A small encoder as an ONNX model in the form of an exported one, built in milliseconds; the export takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from onnx import ModelProto, TensorProto

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Geometry, encoder_signature, resolution_of
from engines.graph.writer import GraphWriter

ROWS, W_DIM = 4, 5
LEVELS = ("coarse", "coarse", "middle", "fine")
"""The level of each row's head."""

CHANNELS = (2, 3, 5, 4, 4)
"""Channels of the stem and of four residual units, each of which halves the map; the last two have equal widths."""


def small_encoder() -> ModelProto:
    """An e4e encoder of four rows of 5; its units have both kinds of shortcuts, all but one linear map no bias."""
    graph = _Graph()
    x = graph.node("Transpose", "face", perm=[0, 3, 1, 2])
    x = graph.node(
        "Sub", graph.node("Div", graph.node("Cast", x, to=TensorProto.FLOAT), np.float32(127.5)), np.float32(1)
    )
    x = graph.node("PRelu", graph.conv(x, 3, CHANNELS[0]), graph.random(CHANNELS[0], 1, 1))
    units = []
    for inputs, outputs in pairwise(CHANNELS):
        x = graph.unit(x, inputs, outputs)
        units.append(x)
    levels = {"coarse": x, "middle": graph.lateral(x, units[2], CHANNELS[3])}
    levels["fine"] = graph.lateral(levels["middle"], units[1], CHANNELS[2])
    halvings = {"coarse": 4, "middle": 5, "fine": 6}
    rows = [graph.head(levels[level], halvings[level], biased=number == 0) for number, level in enumerate(LEVELS)]
    rows[1:] = [graph.node("Add", rows[0], row) for row in rows[1:]]
    stacked = graph.node("Concat", *(graph.node("Unsqueeze", row, np.array([1])) for row in rows), axis=1)
    graph.node("Add", stacked, graph.random(ROWS, W_DIM), named="w")
    return graph.model(encoder_signature(Geometry(resolution_of(ROWS), W_DIM)))


class _Graph(GraphWriter):
    def __init__(self) -> None:
        super().__init__("encoder")
        self._random = np.random.default_rng(0)

    def random(self, *shape: int) -> AnyArray:
        return self._random.standard_normal(shape, np.float32) / np.float32(max(np.prod(shape[1:]), 1) ** 0.5)

    def conv(self, x: str, inputs: int, outputs: int, *, taps: int = 3, stride: int = 1, biased: bool = True) -> str:
        weights = [self.random(outputs, inputs, taps, taps), *([self.random(outputs)] if biased else [])]
        padding = [taps // 2] * 4
        attributes = {"strides": [stride] * 2, "pads": padding, "dilations": [1, 1], "group": 1}
        return self.node("Conv", x, *weights, **attributes)

    def unit(self, x: str, inputs: int, outputs: int) -> str:
        statistics = [self.random(inputs) for _ in range(3)]
        y = self.node("BatchNormalization", x, *statistics, np.ones(inputs, np.float32), epsilon=1e-5)
        y = self.node("PRelu", self.conv(y, inputs, outputs, biased=False), self.random(outputs, 1, 1))
        y = self.conv(y, outputs, outputs, stride=2)
        mean = self.node("ReduceMean", y, np.array([2, 3]), keepdims=1)
        squeezed = self.node("Relu", self.conv(mean, outputs, 1, taps=1, biased=False))
        gates = self.node("Sigmoid", self.conv(squeezed, 1, outputs, taps=1, biased=False))
        if inputs == outputs:
            shortcut = self.node("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2])
        else:
            shortcut = self.conv(x, inputs, outputs, taps=1, stride=2)
        return self.node("Add", self.node("Mul", y, gates), shortcut)

    def lateral(self, coarser: str, unit: str, inputs: int) -> str:
        scales = np.array([1, 1, 2, 2], np.float32)
        mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        upsampled = self.node("Resize", coarser, "", scales, **mode)
        return self.node("Add", upsampled, self.conv(unit, inputs, CHANNELS[-1], taps=1))

    def head(self, x: str, halvings: int, *, biased: bool) -> str:
        widths: Sequence[int] = [CHANNELS[-1], *[W_DIM] * halvings]
        for inputs, outputs in pairwise(widths):
            x = self.node("LeakyRelu", self.conv(x, inputs, outputs, stride=2), alpha=0.01)
        flat = self.node("Reshape", x, np.array([-1, W_DIM]))
        bias = [self.random(W_DIM)] if biased else []
        return self.node("Gemm", flat, self.random(W_DIM, W_DIM), *bias, transB=1)
