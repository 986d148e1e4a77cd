"""An exported encoder's graph -> its weights, layer by layer.

Letters in shapes: I and O input and output channels, S squeezed channels, D width of w, L rows of W+.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_graph import Node, OnnxGraph

FeatureLevel = Literal["coarse", "middle", "fine"]


@dataclass(frozen=True)
class ConvWeights:
    """A convolution with padding that keeps the size, the normalisation before it and the activation after it.

    Attributes:
        weight: float32 [O, I, 3, 3] or [O, I, 1, 1].
        stride: 1 or 2.
        scale: the input's factor, float32 [I]; padding zeros are added after scale and shift.
        shift: the input's offset, float32 [I].
        bias: float32 [O].
        slope: the activation's slope for negative values, float32 [O]; 1 = no activation.
    """

    weight: AnyArray
    stride: int
    scale: AnyArray
    shift: AnyArray
    bias: AnyArray
    slope: AnyArray


@dataclass(frozen=True)
class ResidualUnitWeights:
    """A residual unit: two convolutions, squeeze-and-excitation gates and the shortcut.

    Attributes:
        first: the first convolution.
        second: the second convolution, whose stride is the unit's.
        squeeze: float32 [S, O].
        excite: float32 [O, S].
        shortcut: a 1x1 convolution; None = the input itself, subsampled by the stride.
    """

    first: ConvWeights
    second: ConvWeights
    squeeze: AnyArray
    excite: AnyArray
    shortcut: ConvWeights | None


@dataclass(frozen=True)
class StyleHeadWeights:
    """A row's style head: strided convolutions down to one pixel, then a linear map, weight [D, O] and bias [D]."""

    level: FeatureLevel
    convolutions: tuple[ConvWeights, ...]
    weight: AnyArray
    bias: AnyArray


@dataclass(frozen=True)
class ExportedEncoderWeights:
    """A pSp or e4e encoder.

    Attributes:
        stem: the first convolution.
        units: the body's residual units, the last of which gives the coarse level.
        laterals: the 1x1 convolutions of the middle level and, except in a light encoder, of the fine level; each with
            the number of the unit whose output it reads.
        heads: one style head for each row of W+.
        offsets: whether all rows but the first are offsets from the first.
        latent_avg: the average code that is added to the heads' outputs, [L, D].
    """

    stem: ConvWeights
    units: tuple[ResidualUnitWeights, ...]
    laterals: tuple[tuple[int, ConvWeights], ...]
    heads: tuple[StyleHeadWeights, ...]
    offsets: bool
    latent_avg: AnyArray


def encoder_weights_from_graph(graph: OnnxGraph) -> ExportedEncoderWeights:
    """Locate the weights by the nodes that use them.

    Raises:
        EngineError: the graph is not an encoder as this package exports it.
    """
    try:
        return _EncoderReader(graph).weights()
    except (KeyError, ValueError, StopIteration, IndexError) as error:
        raise EngineError(
            f"{graph.name} as an encoder",
            got=f"a graph without an expected part ({error})",
            expected="a pSp or e4e encoder, as toonify-export writes it",
            remedy="export the model again with this version of the package",
        ) from error


class _EncoderReader:
    def __init__(self, graph: OnnxGraph) -> None:
        self._nodes, self._constants = graph.nodes, graph.constants
        self._producers = {output: node for node in graph.nodes for output in node.outputs}
        # For each tensor, the first node that reads it as its first input.
        self._consumers = {node.inputs[0]: node for node in reversed(graph.nodes) if node.inputs}

    def weights(self) -> ExportedEncoderWeights:
        stem = next(node for node in self._nodes if node.operator == "Conv")
        sums = [node for node in self._nodes if self._is_sum_with(node, "Mul")]
        unit_numbers = {sum_node.outputs[0]: number for number, sum_node in enumerate(sums)}
        upsampled_sums = [node for node in self._nodes if self._is_sum_with(node, "Resize")]
        levels: dict[str, FeatureLevel] = {sums[-1].outputs[0]: "coarse"}
        levels.update(zip((node.outputs[0] for node in upsampled_sums), ("middle", "fine"), strict=False))
        laterals = [self._producer(node, "Conv") for node in upsampled_sums]
        *_, last = self._nodes
        stacked = self._producer(last, "Concat")
        rows = [self._producers[self._producers[name].inputs[0]] for name in stacked.inputs]
        linears = [row if row.operator == "Gemm" else self._producers[row.inputs[1]] for row in rows]
        return ExportedEncoderWeights(
            stem=self._convolution(stem),
            units=tuple(self._unit(sum_node) for sum_node in sums),
            laterals=tuple((unit_numbers[node.inputs[0]], self._convolution(node)) for node in laterals),
            heads=tuple(self._head(linear, levels) for linear in linears),
            offsets=any(row.operator == "Add" for row in rows),
            latent_avg=self._constants[last.inputs[1]],
        )

    def _is_sum_with(self, node: Node, operator: str) -> bool:
        producers = (self._producers.get(name) for name in node.inputs)
        return node.operator == "Add" and any(
            producer is not None and producer.operator == operator for producer in producers
        )

    def _producer(self, node: Node, operator: str) -> Node:
        """The node with this operator that produces one of the node's inputs."""
        producers = (self._producers.get(name) for name in node.inputs)
        return next(producer for producer in producers if producer is not None and producer.operator == operator)

    def _unit(self, sum_node: Node) -> ResidualUnitWeights:
        gated, added = (self._producers[name] for name in sum_node.inputs)
        second = self._producers[gated.inputs[0]]
        excite = self._producer(self._producer(gated, "Sigmoid"), "Conv")
        squeeze = self._producer(self._producer(excite, "Relu"), "Conv")
        return ResidualUnitWeights(
            first=self._convolution(self._producer(self._producer(second, "PRelu"), "Conv")),
            second=self._convolution(second),
            squeeze=self._constants[squeeze.inputs[1]][:, :, 0, 0],
            excite=self._constants[excite.inputs[1]][:, :, 0, 0],
            shortcut=self._convolution(added) if added.operator == "Conv" else None,
        )

    def _head(self, linear: Node, levels: dict[str, FeatureLevel]) -> StyleHeadWeights:
        convolutions = [*self._chain(self._producers[linear.inputs[0]].inputs[0])][::-1]
        return StyleHeadWeights(
            level=levels[convolutions[0].inputs[0]],
            convolutions=tuple(self._convolution(node) for node in convolutions),
            weight=self._constants[linear.inputs[1]],
            bias=self._constants[linear.inputs[2]],
        )

    def _chain(self, name: str) -> Iterator[Node]:
        """Yield the convolutions that lead to an activation's output, from the last to the first."""
        while (activation := self._producers[name]).operator == "LeakyRelu":
            node = self._producers[activation.inputs[0]]
            yield node
            name = node.inputs[0]

    def _convolution(self, node: Node) -> ConvWeights:
        weight = self._constants[node.inputs[1]]
        outputs, inputs = weight.shape[:2]
        biased = len(node.inputs) > 2
        convolution = ConvWeights(
            weight=weight,
            stride=node.attributes["strides"][0],
            scale=np.ones(inputs, np.float32),
            shift=np.zeros(inputs, np.float32),
            bias=self._constants[node.inputs[2]] if biased else np.zeros(outputs, np.float32),
            slope=self._slope(node, outputs),
        )
        before = self._producers.get(node.inputs[0])
        if before is None or before.operator != "BatchNormalization":
            return convolution
        gain, bias, mean, variance = (self._constants[name] for name in before.inputs[1:])
        scale = gain / np.sqrt(variance + np.float32(before.attributes["epsilon"]))
        return replace(convolution, scale=scale, shift=bias - mean * scale)

    def _slope(self, node: Node, outputs: int) -> AnyArray:
        consumer = self._consumers.get(node.outputs[0])
        if consumer is not None and consumer.operator == "PRelu":
            return np.broadcast_to(self._constants[consumer.inputs[1]].reshape(-1), outputs)
        if consumer is not None and consumer.operator == "LeakyRelu":
            return np.full(outputs, consumer.attributes["alpha"], np.float32)
        return np.ones(outputs, np.float32)
