"""An exported generator's graph -> its weights, layer by layer.

Letters in shapes: D width of w, I and O input and output channels, H and W a layer's output height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_graph import Node, OnnxGraph

MODULATED_CONV, MODULATED_CONV_UP = "ModulatedConv2d", "ModulatedConv2dUp"


@dataclass(frozen=True)
class AffineWeights:
    """The affine map from a row of W+ to a style: weight float32 [I, D], bias float32 [I]."""

    row: int
    weight: AnyArray
    bias: AnyArray


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


@dataclass(frozen=True)
class ToRgbWeights:
    """A modulated 1x1 convolution: weight float32 [3, I] including its gain, bias float32 [3], and clamp bound."""

    affine: AffineWeights
    weight: AnyArray
    bias: AnyArray
    clamp: float | None


@dataclass(frozen=True)
class SynthesisBlockWeights:
    """The layers of one resolution; the lowest one has no up-convolution."""

    up: ModulatedConvWeights | None
    conv: ModulatedConvWeights
    rgb: ToRgbWeights


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


def is_generator(graph: OnnxGraph) -> bool:
    """Whether the graph is a generator's, which has modulated convolutions."""
    return any(node.operator in (MODULATED_CONV, MODULATED_CONV_UP) for node in graph.nodes)


def generator_weights_from_graph(graph: OnnxGraph) -> ExportedGeneratorWeights:
    """Locate the weights by the nodes that use them.

    Raises:
        EngineError: the graph is not a generator as this package exports it.
    """
    try:
        return _GeneratorReader(graph).weights()
    except (KeyError, ValueError, StopIteration) as error:
        raise EngineError(
            f"{graph.name} as a generator",
            got=f"a graph without an expected part ({error})",
            expected="StyleGAN2 with skip connections, as toonify-export writes it",
            remedy="export the model again with this version of the package",
        ) from error


class _GeneratorReader:
    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._producers = {output: node for node in graph.nodes for output in node.outputs}
        self._consumers = {name: node for node in graph.nodes for name in node.inputs}

    def weights(self) -> ExportedGeneratorWeights:
        truncation = next(node for node in self._graph.nodes if node.operator == "Sub" and node.inputs[1] == "w")
        first = next(node for node in self._graph.nodes if node.operator == MODULATED_CONV)
        resolutions = tuple(self._resolutions())
        if [resolution.up is None for resolution in resolutions] != [True] + [False] * (len(resolutions) - 1):
            raise ValueError("an up-convolution in every resolution but the lowest")
        return ExportedGeneratorWeights(self._constant(truncation, 0), self._constant(first, 0), resolutions)

    def _resolutions(self) -> Iterator[SynthesisBlockWeights]:
        up: ModulatedConvWeights | None = None
        for node in self._graph.nodes:
            if node.operator == MODULATED_CONV_UP:
                up = self._convolution(node)
            elif node.operator == MODULATED_CONV:
                conv = self._convolution(node)
            elif node.operator == "Conv":
                yield SynthesisBlockWeights(up, conv, self._rgb(node))
                up = None

    def _convolution(self, node: Node) -> ModulatedConvWeights:
        weight = self._constant(node, 1)
        *_, style, _, noise, bias = node.inputs
        return ModulatedConvWeights(
            affine=self._affine(style),
            weight=weight.swapaxes(0, 1) if node.operator == MODULATED_CONV_UP else weight,
            noise=self._graph.constants[noise][0, 0],
            bias=self._graph.constants[bias],
            clamp=node.attributes.get("clamp"),
        )

    def _rgb(self, node: Node) -> ToRgbWeights:
        scaled = self._producers[node.inputs[0]]
        biased = self._consumers[node.outputs[0]]
        style = self._producers[scaled.inputs[1]].inputs[0]
        consumer = self._consumers[biased.outputs[0]]
        return ToRgbWeights(
            affine=self._affine(style),
            weight=self._constant(node, 1)[:, :, 0, 0],
            bias=self._constant(biased, 1).reshape(3),
            clamp=float(self._constant(consumer, 2)) if consumer.operator == "Clip" else None,
        )

    def _affine(self, style: str) -> AffineWeights:
        product = self._producers[style]
        row = self._producers[self._producers[product.inputs[0]].inputs[0]]
        return AffineWeights(int(self._constant(row, 1)[0]), self._constant(product, 1), self._constant(product, 2))

    def _constant(self, node: Node, index: int) -> AnyArray:
        return self._graph.constants[node.inputs[index]]
