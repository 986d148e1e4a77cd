"""An exported encoder's graph -> its weights, layer by layer.

Letters in shapes: I and O input and output channels, S channels of a squeeze, D width of w, L rows of W+.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_graph import Node, OnnxGraph

Level = Literal["coarse", "middle", "fine"]


@dataclass(frozen=True)
class Filters:
    """A convolution padded to keep its size, the normalisation before it and the activation after it.

    Attributes:
        weight: float32 [O, I, 3, 3] or [O, I, 1, 1].
        stride: 1 or 2.
        scale: of what comes in, [I]; padding is 0 after it.
        shift: likewise.
        bias: [O].
        slope: of what is negative, [O].
    """

    weight: AnyArray
    stride: int
    scale: AnyArray
    shift: AnyArray
    bias: AnyArray
    slope: AnyArray


@dataclass(frozen=True)
class Unit:
    """A residual unit: two convolutions, gates from the means, and what is added.

    Attributes:
        first: convolution.
        second: convolution, whose stride is the unit's.
        squeeze: [S, O].
        excite: [O, S].
        shortcut: a 1x1 convolution; None where the input itself is added, at every stride-th row and column.
    """

    first: Filters
    second: Filters
    squeeze: AnyArray
    excite: AnyArray
    shortcut: Filters | None


@dataclass(frozen=True)
class Head:
    """Strided convolutions down to one pixel, and the linear map to a row: [D, O], [D]."""

    level: Level
    convolutions: tuple[Filters, ...]
    weight: AnyArray
    bias: AnyArray


@dataclass(frozen=True)
class EncoderWeights:
    """A pSp or e4e encoder.

    Attributes:
        stem: the first convolution.
        units: of the body, whose last one gives the coarse level.
        laterals: 1x1 convolutions of the middle level and, unless the encoder is a light one, of the fine level; each
            with the number of the unit that it reads.
        heads: one for each row.
        offsets: whether all rows but the first are offsets from it.
        latent_avg: [L, D], which is added.
    """

    stem: Filters
    units: tuple[Unit, ...]
    laterals: tuple[tuple[int, Filters], ...]
    heads: tuple[Head, ...]
    offsets: bool
    latent_avg: AnyArray


def encoder_from_graph(graph: OnnxGraph) -> EncoderWeights:
    """Find the weights by the places where the graph uses them.

    Raises:
        EngineError: the graph is not what this package exports an encoder to.
    """
    try:
        return _Reader(graph).weights()
    except (KeyError, ValueError, StopIteration, IndexError) as error:
        raise EngineError(
            f"{graph.name} as an encoder",
            got=f"a graph without an expected part ({error})",
            expected="a pSp or e4e encoder, as toonify-export writes it",
            remedy="export the model again with this version of the package",
        ) from error


class _Reader:
    def __init__(self, graph: OnnxGraph) -> None:
        self._nodes, self._constants = graph.nodes, graph.constants
        self._makers = {output: node for node in graph.nodes for output in node.outputs}
        # The first of those that read a tensor as their first input.
        self._readers = {node.inputs[0]: node for node in reversed(graph.nodes) if node.inputs}

    def weights(self) -> EncoderWeights:
        stem = next(node for node in self._nodes if node.operator == "Conv")
        ends = [node for node in self._nodes if self._adds(node, "Mul")]
        numbers = {end.outputs[0]: number for number, end in enumerate(ends)}
        doubled = [node for node in self._nodes if self._adds(node, "Resize")]
        levels: dict[str, Level] = {ends[-1].outputs[0]: "coarse"}
        levels.update(zip((node.outputs[0] for node in doubled), ("middle", "fine"), strict=False))
        laterals = [self._made(node, "Conv") for node in doubled]
        *_, last = self._nodes
        stacked = self._made(last, "Concat")
        rows = [self._makers[self._makers[name].inputs[0]] for name in stacked.inputs]
        linears = [row if row.operator == "Gemm" else self._makers[row.inputs[1]] for row in rows]
        return EncoderWeights(
            stem=self._filters(stem),
            units=tuple(self._unit(end) for end in ends),
            laterals=tuple((numbers[node.inputs[0]], self._filters(node)) for node in laterals),
            heads=tuple(self._head(linear, levels) for linear in linears),
            offsets=any(row.operator == "Add" for row in rows),
            latent_avg=self._constants[last.inputs[1]],
        )

    def _adds(self, node: Node, operator: str) -> bool:
        makers = (self._makers.get(name) for name in node.inputs)
        return node.operator == "Add" and any(maker is not None and maker.operator == operator for maker in makers)

    def _made(self, node: Node, operator: str) -> Node:
        """What of this operator makes one of the node's inputs."""
        makers = (self._makers.get(name) for name in node.inputs)
        return next(maker for maker in makers if maker is not None and maker.operator == operator)

    def _unit(self, end: Node) -> Unit:
        gated, added = (self._makers[name] for name in end.inputs)
        second = self._makers[gated.inputs[0]]
        excite = self._made(self._made(gated, "Sigmoid"), "Conv")
        squeeze = self._made(self._made(excite, "Relu"), "Conv")
        return Unit(
            first=self._filters(self._made(self._made(second, "PRelu"), "Conv")),
            second=self._filters(second),
            squeeze=self._constants[squeeze.inputs[1]][:, :, 0, 0],
            excite=self._constants[excite.inputs[1]][:, :, 0, 0],
            shortcut=self._filters(added) if added.operator == "Conv" else None,
        )

    def _head(self, linear: Node, levels: dict[str, Level]) -> Head:
        convolutions = [*self._chain(self._makers[linear.inputs[0]].inputs[0])][::-1]
        return Head(
            level=levels[convolutions[0].inputs[0]],
            convolutions=tuple(self._filters(node) for node in convolutions),
            weight=self._constants[linear.inputs[1]],
            bias=self._constants[linear.inputs[2]],
        )

    def _chain(self, name: str) -> Iterator[Node]:
        """The convolutions before an activation's output, the last one first."""
        while (activation := self._makers[name]).operator == "LeakyRelu":
            node = self._makers[activation.inputs[0]]
            yield node
            name = node.inputs[0]

    def _filters(self, node: Node) -> Filters:
        weight = self._constants[node.inputs[1]]
        outputs, inputs = weight.shape[:2]
        biased = len(node.inputs) > 2
        filters = Filters(
            weight=weight,
            stride=node.attributes["strides"][0],
            scale=np.ones(inputs, np.float32),
            shift=np.zeros(inputs, np.float32),
            bias=self._constants[node.inputs[2]] if biased else np.zeros(outputs, np.float32),
            slope=self._slope(node, outputs),
        )
        before = self._makers.get(node.inputs[0])
        if before is None or before.operator != "BatchNormalization":
            return filters
        gain, bias, mean, variance = (self._constants[name] for name in before.inputs[1:])
        scale = gain / np.sqrt(variance + np.float32(before.attributes["epsilon"]))
        return replace(filters, scale=scale, shift=bias - mean * scale)

    def _slope(self, node: Node, outputs: int) -> AnyArray:
        follower = self._readers.get(node.outputs[0])
        if follower is not None and follower.operator == "PRelu":
            return np.broadcast_to(self._constants[follower.inputs[1]].reshape(-1), outputs)
        if follower is not None and follower.operator == "LeakyRelu":
            return np.full(outputs, follower.attributes["alpha"], np.float32)
        return np.ones(outputs, np.float32)
