"""An exported generator's graph -> its weights, layer by layer.

Letters in shapes: D width of w, I and O input and output channels, H and W a layer's output height and width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.graph.expectations import Expectation, array_of, between, check_weights, equal, map_of
from engines.graph.lookup import GraphLookup
from engines.graph.onnx_graph import Node, OnnxGraph

MODULATED_CONV, MODULATED_CONV_UP, WEIGHT_BLEND = "ModulatedConv2d", "ModulatedConv2dUp", "Blend"
"""The operators of this package's own in an exported generator; ``export.graphs.functions`` writes their bodies."""

LOWEST_RESOLUTION = 4
MAX_RESOLUTIONS = 12
"""The layers of pictures up to 8192x8192."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class AffineWeights:
    """The affine map from a row of W+ to a style: weight float32 [I, D], bias float32 [I]."""

    row: int
    weight: AnyArray
    bias: AnyArray

    def expectations(self, channels: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold for the style of ``channels`` channels."""
        yield array_of("the weight of a style", self.weight, channels, w_dim)
        yield array_of("the bias of a style", self.bias, channels)
        yield between("a style's row of W+", self.row, 0, math.inf)


@dataclass(frozen=True)
class ModulatedConvWeights:
    """A modulated 3x3 convolution; noise and bias include the activation's gain sqrt 2.

    Attributes:
        affine: the map to the input's style.
        weight: float32 [O, I, 3, 3], including the gain of the equalised learning rate.
        noise: float32 [H, W].
        bias: float32 [O].
        clamp: the bound of the activation's magnitude; None = unbounded.
    """

    affine: AffineWeights
    weight: AnyArray
    noise: AnyArray
    bias: AnyArray
    clamp: float | None

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return len(self.weight)

    def expectations(self, channels_in: int, size: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold with this number of input channels, output size and width of w."""
        place = f"a convolution at {size}x{size}"
        yield map_of(f"the map of {place}", size, self.channels)
        yield array_of(f"the weight of {place}", self.weight, self.channels, channels_in, 3, 3)
        yield array_of(f"the noise of {place}", self.noise, size, size)
        yield array_of(f"the bias of {place}", self.bias, self.channels)
        yield from _clamp_expectations(place, self.clamp)
        yield from self.affine.expectations(channels_in, w_dim)


@dataclass(frozen=True)
class ToRgbWeights:
    """A modulated 1x1 convolution: weight float32 [3, I] including its gain, bias float32 [3], and clamp bound."""

    affine: AffineWeights
    weight: AnyArray
    bias: AnyArray
    clamp: float | None

    def expectations(self, channels_in: int, size: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold for toRGB of a map [size, size, channels_in]."""
        place = f"toRGB at {size}x{size}"
        yield array_of(f"the weight of {place}", self.weight, 3, channels_in)
        yield array_of(f"the bias of {place}", self.bias, 3)
        yield from _clamp_expectations(place, self.clamp)
        yield from self.affine.expectations(channels_in, w_dim)


@dataclass(frozen=True)
class SynthesisBlockWeights:
    """The layers of one resolution; the lowest one has no up-convolution."""

    up: ModulatedConvWeights | None
    conv: ModulatedConvWeights
    rgb: ToRgbWeights

    def expectations(self, channels_in: int, size: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold at the resolution ``size``."""
        yield equal(f"an up-convolution at {size}x{size}", self.up is not None, size > LOWEST_RESOLUTION)
        if self.up is not None:
            yield from self.up.expectations(channels_in, size, w_dim)
            channels_in = self.up.channels
        yield from self.conv.expectations(channels_in, size, w_dim)
        yield from self.rgb.expectations(self.conv.channels, size, w_dim)


@dataclass(frozen=True)
class ExportedGeneratorWeights:
    """A generator with skip connections: w_avg [D], the constant input [1, I, 4, 4], and resolutions, lowest first."""

    w_avg: AnyArray
    constant: AnyArray
    resolutions: tuple[SynthesisBlockWeights, ...]

    @property
    def convolutions(self) -> tuple[ModulatedConvWeights, ...]:
        """The convolutions in the order of W+'s rows: one at the lowest resolution, two at each further one."""
        return tuple(layer for resolution in self.resolutions for layer in (resolution.up, resolution.conv) if layer)

    def expectations(self) -> Iterator[Expectation]:
        """List what must hold for a generator of this width of w, number of resolutions and channels."""
        w_dim, channels = self.w_avg.size, self.constant.shape[1]
        yield array_of("the average w", self.w_avg, w_dim)
        yield map_of("w_avg as a map", 1, w_dim)
        yield map_of("the constant input", LOWEST_RESOLUTION, channels)
        yield array_of("the constant input", self.constant, 1, channels, LOWEST_RESOLUTION, LOWEST_RESOLUTION)
        yield between("the number of resolutions", len(self.resolutions), 1, MAX_RESOLUTIONS)
        for level, resolution in enumerate(self.resolutions):
            yield from resolution.expectations(channels, LOWEST_RESOLUTION << level, w_dim)
            channels = resolution.conv.channels

    def signature_expectations(self, signature: Signature) -> Iterator[Expectation]:
        """List what must hold for a generator of this signature."""
        dims = {spec.name: spec.dims for spec in signature}
        rows, w_dim = dims["w"]
        size = LOWEST_RESOLUTION << (len(self.resolutions) - 1)
        yield equal("the pictures' shape", (size, size, 3), dims["image"])
        yield equal("the width of w", self.w_avg.size, w_dim)
        affines = [layer.affine for layer in self.convolutions] + [block.rgb.affine for block in self.resolutions]
        yield between("the largest row of W+", max(affine.row for affine in affines), 0, rows - 1)


def _clamp_expectations(place: str, clamp: float | None) -> Iterator[Expectation]:
    if clamp is not None:
        yield between(f"the clamp of {place}", clamp, 0, FLOAT32_MAX)


def is_generator(graph: OnnxGraph) -> bool:
    """Whether the graph is a generator's, which has modulated convolutions."""
    return any(node.operator in (MODULATED_CONV, MODULATED_CONV_UP) for node in graph.nodes)


def generator_weights_from_graph(graph: OnnxGraph, signature: Signature | None = None) -> ExportedGeneratorWeights:
    """Locate the weights by the nodes that use them, and check the type and shape of each.

    Raises:
        EngineError: the graph is not a generator as this package exports it, or not one of this signature.
    """
    lookup = generator_lookup(graph)
    weights = GeneratorReader(lookup).weights()
    check_weights(lookup.subject, weights, signature, lookup.stored_numbers)
    return weights


def generator_lookup(graph: OnnxGraph) -> GraphLookup:
    """Return the graph as one that is read as a generator."""
    return GraphLookup(graph, "a generator", "StyleGAN2 with skip connections, as toonify-export writes it")


@dataclass(frozen=True)
class BlockNodes:
    """The nodes of one resolution's layers: modulated convolutions, and toRGB's plain one."""

    up: Node | None
    conv: Node
    rgb: Node


class GeneratorReader:
    """Reads a generator's weights; every method raises EngineError where the graph is not one."""

    def __init__(self, lookup: GraphLookup) -> None:
        self._lookup, self._nodes = lookup, lookup.graph.nodes

    def weights(self) -> ExportedGeneratorWeights:
        """Read all weights."""
        blocks = self.blocks()
        return ExportedGeneratorWeights(self.w_avg(), self.constant(blocks[0]), tuple(map(self.block, blocks)))

    def w_avg(self) -> AnyArray:
        """Read the average w, [D]."""
        truncations = [node for node in self._nodes if node.operator == "Sub" and node.inputs[1:] == ("w",)]
        if not truncations:
            raise self._lookup.error("a truncation of w")
        return self._lookup.constant(truncations[0], 0, None)

    def constant(self, lowest: BlockNodes) -> AnyArray:
        """Read the constant input of the lowest block, [1, I, 4, 4]."""
        return self._lookup.constant(lowest.conv, 0, 1, None, None, None)

    def blocks(self) -> list[BlockNodes]:
        """Find the blocks: the modulated convolutions between one toRGB, the only plain convolution, and the next."""
        blocks: list[BlockNodes] = []
        layers: list[Node] = []
        for node in self._nodes:
            if node.operator in (MODULATED_CONV, MODULATED_CONV_UP):
                layers.append(node)
            elif node.operator == "Conv":
                operators = [layer.operator for layer in layers]
                if operators != [MODULATED_CONV_UP, MODULATED_CONV][not blocks :]:
                    raise self._lookup.error("an up-convolution and a convolution in every resolution but the lowest")
                *up, conv = layers
                blocks.append(BlockNodes(up[0] if up else None, conv, node))
                layers = []
        if not blocks:
            raise self._lookup.error("a toRGB")
        return blocks

    def block(self, nodes: BlockNodes) -> SynthesisBlockWeights:
        """Read the weights of one resolution."""
        up = None if nodes.up is None else self._convolution(nodes.up)
        return SynthesisBlockWeights(up, self._convolution(nodes.conv), self._rgb(nodes.rgb))

    def _convolution(self, node: Node) -> ModulatedConvWeights:
        up = node.operator == MODULATED_CONV_UP
        weight = self._lookup.constant(node, 1, None, None, 3, 3)
        return ModulatedConvWeights(
            affine=self._affine(self._lookup.input(node, -4)),
            weight=weight.swapaxes(0, 1) if up else weight,
            noise=self._lookup.constant(node, -2, 1, 1, None, None)[0, 0],
            bias=self._lookup.constant(node, -1, None),
            clamp=self._lookup.number(node, "clamp") if "clamp" in node.attributes else None,
        )

    def _rgb(self, node: Node) -> ToRgbWeights:
        scaled = self._lookup.before(node, 0, "Mul")
        biased = self._lookup.reader(node)
        if biased is None or biased.operator != "Add":
            raise self._lookup.error("a bias of toRGB")
        after = self._lookup.reader(biased)
        clamped = after is not None and after.operator == "Clip"
        return ToRgbWeights(
            affine=self._affine(self._lookup.input(self._lookup.before(scaled, 1, "Unsqueeze"), 0)),
            weight=self._lookup.constant(node, 1, 3, None, 1, 1)[:, :, 0, 0],
            bias=self._lookup.constant(biased, 1, 3, 1, 1).reshape(3),
            clamp=float(self._lookup.constant(after, 2)) if clamped and after is not None else None,
        )

    def _affine(self, style: str) -> AffineWeights:
        product = self._lookup.producer(style, "Gemm")
        row = self._lookup.before(self._lookup.before(product, 0, "Squeeze"), 0, "Slice")
        return AffineWeights(self._lookup.integer(row, 1), *self._lookup.linear(product))
