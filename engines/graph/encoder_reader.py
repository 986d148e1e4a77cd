"""An exported encoder's graph -> its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.tensors import FACE_SIZE, Signature
from engines.graph.encoder_weights import (
    LATERAL_LEVELS,
    ConvWeights,
    ExportedEncoderWeights,
    FeatureLevel,
    PooledHead,
    ResidualUnitWeights,
    StyleHeads,
    StyleHeadWeights,
)
from engines.graph.expectations import check_weights
from engines.graph.lookup import GraphLookup
from engines.graph.onnx_graph import Node, OnnxGraph


def encoder_weights_from_graph(graph: OnnxGraph, signature: Signature | None = None) -> ExportedEncoderWeights:
    """Locate the weights by the nodes that use them, and check the type and shape of each.

    Raises:
        EngineError: the graph is not an encoder as this package exports it, or not one of this signature.
    """
    lookup = GraphLookup(graph, "an encoder", "an encoder of one step on IR-SE-50, as toonify-export writes it")
    weights = _EncoderReader(lookup).weights()
    check_weights(lookup.subject, weights, signature, lookup.stored_numbers)
    return weights


class _EncoderReader:
    def __init__(self, lookup: GraphLookup) -> None:
        self._lookup, self._nodes = lookup, lookup.graph.nodes
        # The tensors that heads read, and the units' outputs that laterals read.
        self._levels: dict[str, FeatureLevel] = {}
        self._unit_numbers: dict[str, int] = {}

    def weights(self) -> ExportedEncoderWeights:
        sums = [node for node in self._nodes if self._is_sum_with(node, "Mul")]
        stems = [node for node in self._nodes if node.operator == "Conv"]
        if not sums or not stems:
            raise self._lookup.error("a stem and residual units")
        last, units = self._nodes[-1], tuple(self._unit(node) for node in sums)
        return ExportedEncoderWeights(
            stem=self._convolution(stems[0]),
            units=units,
            head=self._head_before(last, sums, max(FACE_SIZE // prod(unit.stride for unit in units), 1)),
            latent_avg=self._lookup.constant(last, 1, None, None),
        )

    def _head_before(self, last: Node, sums: list[Node], size: int) -> StyleHeads | PooledHead:
        """Return what gives the codes that the last node adds the average to; the last map has this size."""
        coarse = self._lookup.output(sums[-1])
        match self._lookup.before(last, 0, "Concat", "Unsqueeze", "Reshape"):
            case Node(operator="Concat") as stacked:
                return self._style_heads(stacked, sums)
            case Node(operator="Unsqueeze") as code:
                return self._one_code(code, coarse, size)
            case rows:
                return self._all_rows(rows, coarse)

    def _style_heads(self, stacked: Node, sums: list[Node]) -> StyleHeads:
        self._unit_numbers = {self._lookup.output(node): number for number, node in enumerate(sums)}
        upsampled = [node for node in self._nodes if self._is_sum_with(node, "Resize")]
        self._levels = {self._lookup.output(sums[-1]): "coarse"}
        self._levels.update(zip(map(self._lookup.output, upsampled), LATERAL_LEVELS, strict=False))
        rows = self._rows(stacked)
        return StyleHeads(
            laterals=tuple(self._lateral(node) for node in upsampled),
            heads=tuple(self._head(row) for row in rows),
            offsets=any(row.operator == "Add" for row in rows),
        )

    def _one_code(self, code: Node, coarse: str, size: int) -> PooledHead:
        linear = self._lookup.before(code, 0, "Gemm")
        self._require_reads(self._lookup.before(linear, 0, "ReduceMean"), coarse)
        weight, bias = self._lookup.linear(linear)
        return PooledHead(np.full((1, size), 1 / size, np.float32), weight[:, :, None, None], bias, None)

    def _all_rows(self, rows: Node, coarse: str) -> PooledHead:
        rows_layer = self._lookup.before(rows, 0, "Gemm")
        code_layer = self._lookup.before(rows_layer, 0, "Gemm")
        means, norm = self._pooling(self._lookup.before(code_layer, 0, "Reshape"))
        self._require_reads(norm, coarse)
        return PooledHead(means, *self._code_layer(code_layer, norm, means), self._lookup.linear(rows_layer))

    def _pooling(self, flattened: Node) -> tuple[AnyArray, Node]:
        """Return the windows along each axis, [P, S], and the batch normalisation before them."""
        down = self._lookup.before(flattened, 0, "MatMul")
        across = self._lookup.before(down, 1, "MatMul")
        means = self._lookup.constant(down, 0, None, None)
        if not np.array_equal(self._lookup.constant(across, 1, None, None), means.T):
            raise self._lookup.error("the same windows along both axes")
        return means, self._lookup.before(across, 0, "BatchNormalization")

    def _code_layer(self, linear: Node, norm: Node, means: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return weight [D, C, P, P] and bias [D] of a layer together with the normalisation before its means."""
        (scale, shift), (weight, bias) = self._normalisation(norm), self._lookup.linear(linear)
        shape = (len(scale), len(means), len(means))
        if weight.shape[1] != prod(shape):
            raise self._lookup.error(f"a weight of {prod(shape)} means")
        weight, sums = weight.reshape(-1, *shape), means.sum(1)
        bias = bias + np.einsum("ocij,c,i,j->o", weight, shift, sums, sums, optimize=True)
        return weight * scale[:, None, None], bias

    def _require_reads(self, node: Node, coarse: str) -> None:
        if self._lookup.input(node, 0) != coarse:
            raise self._lookup.error(f"a {node.operator} that reads the last unit's output")

    def _is_sum_with(self, node: Node, operator: str) -> bool:
        return node.operator == "Add" and any(before.operator == operator for before in self._lookup.all_before(node))

    def _rows(self, stacked: Node) -> list[Node]:
        """Return the node that gives each row: a head's Gemm, or an Add of the first row and a Gemm."""
        unsqueezed = (self._lookup.before(stacked, index, "Unsqueeze") for index in range(len(stacked.inputs)))
        return [self._lookup.before(node, 0, "Gemm", "Add") for node in unsqueezed]

    def _unit(self, node: Node) -> ResidualUnitWeights:
        gated, added = self._lookup.before(node, 0, "Mul"), self._lookup.before(node, 1, "Conv", "MaxPool")
        second = self._lookup.before(gated, 0, "Conv")
        excite = self._lookup.any_before(self._lookup.any_before(gated, "Sigmoid"), "Conv")
        squeeze = self._lookup.any_before(self._lookup.any_before(excite, "Relu"), "Conv")
        return ResidualUnitWeights(
            first=self._convolution(self._lookup.any_before(self._lookup.any_before(second, "PRelu"), "Conv")),
            second=self._convolution(second),
            squeeze=self._lookup.constant(squeeze, 1, None, None, 1, 1)[:, :, 0, 0],
            excite=self._lookup.constant(excite, 1, None, None, 1, 1)[:, :, 0, 0],
            shortcut=self._convolution(added) if added.operator == "Conv" else None,
        )

    def _lateral(self, node: Node) -> tuple[int, ConvWeights]:
        lateral = self._lookup.any_before(node, "Conv")
        unit = self._unit_numbers.get(self._lookup.input(lateral, 0))
        if unit is None:
            raise self._lookup.error("laterals that read a unit's output")
        return unit, self._convolution(lateral)

    def _head(self, row: Node) -> StyleHeadWeights:
        linear = row if row.operator == "Gemm" else self._lookup.before(row, 1, "Gemm")
        convolutions = [*self._chain(self._lookup.input(self._lookup.before(linear, 0, "Reshape"), 0))][::-1]
        level = self._levels.get(self._lookup.input(convolutions[0], 0)) if convolutions else None
        if level is None:
            raise self._lookup.error("style heads that read a level of the pyramid")
        layers = tuple(self._convolution(node) for node in convolutions)
        return StyleHeadWeights(level, layers, *self._lookup.linear(linear))

    def _chain(self, name: str) -> Iterator[Node]:
        """Yield the convolutions that lead to an activation's output, from the last to the first."""
        while (activation := self._lookup.producer(name)).operator == "LeakyRelu":
            node = self._lookup.before(activation, 0, "Conv")
            yield node
            name = self._lookup.input(node, 0)

    def _convolution(self, node: Node) -> ConvWeights:
        weight = self._lookup.constant(node, 1, None, None, None, None)
        (outputs, inputs), biased = weight.shape[:2], len(node.inputs) > 2
        padding = weight.shape[-1] // 2
        self._lookup.require(node, group=1, dilations=(1, 1), pads=(padding,) * 4)
        convolution = ConvWeights(
            weight=weight,
            stride=self._stride(node),
            scale=np.ones(inputs, np.float32),
            shift=np.zeros(inputs, np.float32),
            bias=self._lookup.constant(node, 2, outputs) if biased else np.zeros(outputs, np.float32),
            slope=self._slope(node, outputs),
        )
        before = self._lookup.giver(self._lookup.input(node, 0))
        return convolution if before is None else self._normalised(convolution, before)

    def _normalised(self, convolution: ConvWeights, before: Node) -> ConvWeights:
        """Return the convolution with the node before it, if that is a batch normalisation, as its scale and shift."""
        if before.operator != "BatchNormalization":
            return convolution
        scale, shift = self._normalisation(before)
        return replace(convolution, scale=scale, shift=shift)

    def _normalisation(self, node: Node) -> tuple[AnyArray, AnyArray]:
        """Return the scale and the shift of a batch normalisation, [C] each."""
        channels = len(self._lookup.constant(node, 1, None))
        gain, bias, mean, variance = (self._lookup.constant(node, index, channels) for index in range(1, 5))
        spread = variance + np.float32(self._lookup.number(node, "epsilon"))
        if not (spread > 0).all():
            raise self._lookup.error("a positive variance in every batch normalisation")
        scale = gain / np.sqrt(spread)
        return scale, bias - mean * scale

    def _stride(self, node: Node) -> int:
        strides = node.attributes.get("strides", (1, 1))
        if strides not in ((1, 1), (2, 2)):
            raise self._lookup.error("strides of 1 or 2")
        return int(strides[0])

    def _slope(self, node: Node, outputs: int) -> AnyArray:
        reader = self._lookup.reader(node)
        if reader is not None and reader.operator == "PRelu":
            return np.broadcast_to(self._prelu_slope(reader, outputs), outputs)
        if reader is not None and reader.operator == "LeakyRelu":
            return np.full(outputs, self._lookup.number(reader, "alpha"), np.float32)
        return np.ones(outputs, np.float32)

    def _prelu_slope(self, node: Node, outputs: int) -> AnyArray:
        """Return the slope of a PRelu as [O], or as [1] for all channels."""
        slope = self._lookup.graph.constants.get(self._lookup.input(node, 1))
        if slope is None or slope.dtype != np.float32 or slope.size not in (1, outputs):
            raise self._lookup.error(f"a PRelu's slope of {outputs} channels")
        return slope.reshape(-1)
