"""The operands of a generator's layers: constants, made of one network's parameters.

The gains of the equalised learning rate and of the activation are part of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engines.graph.writer import GraphWriter
from export.graphs.layers import array
from export.networks.generator import ACTIVATION_GAIN, Generator, SynthesisLayer, ToRgb


@dataclass(frozen=True)
class ConvolutionOperands:
    """Names of the operands of a modulated convolution.

    Attributes:
        squares: the sums of squared weights over the taps, halved, [I, O].
        weight: [O, I, 3, 3], or [I, O, 3, 3] for a convolution that doubles the size.
        noise: [1, 1, H, W].
        bias: [O].
    """

    squares: str
    weight: str
    noise: str
    bias: str


class LayerOperands(Protocol):
    """The operands of the layers ``up``, ``conv`` and ``rgb`` of each resolution, which are added when asked for."""

    def constant_input(self) -> str:
        """Return the name of the constant input, [1, C, 4, 4]."""
        ...

    def affine(self, resolution: int, layer: str) -> tuple[str, str]:
        """Return the names of weight [I, D] and bias [I] of a layer's affine map from w to its style."""
        ...

    def convolution(self, resolution: int, layer: str) -> ConvolutionOperands:
        """Return the names of a modulated convolution's operands."""
        ...

    def to_rgb(self, resolution: int) -> tuple[str, str]:
        """Return the names of weight [3, I, 1, 1] and bias [3, 1, 1] of toRGB."""
        ...


class ConstantOperands:
    """The operands of one generator; see ``LayerOperands``."""

    def __init__(self, graph: GraphWriter, generator: Generator) -> None:
        self._graph, self._blocks = graph, dict(generator.blocks)

    def constant_input(self) -> str:
        return self._graph.constant(array(self._blocks[4].const[None]), "synthesis.4.const")

    def affine(self, resolution: int, layer: str) -> tuple[str, str]:
        affine = getattr(self._blocks[resolution], layer).affine
        weight = self._graph.constant(array(affine.scaled_weight()), "weight")
        return weight, self._graph.constant(array(affine.bias), "bias")

    def convolution(self, resolution: int, layer: str) -> ConvolutionOperands:
        convolution = getattr(self._blocks[resolution], layer)
        assert isinstance(convolution, SynthesisLayer)
        weight = convolution.scaled_weight()
        kernel = weight.transpose(0, 1).contiguous() if convolution.up else weight
        noise = convolution.noise[None, None] * (convolution.noise_strength * ACTIVATION_GAIN)
        squares = weight.square().sum((2, 3)).T / ACTIVATION_GAIN**2
        return ConvolutionOperands(
            squares=self._graph.constant(array(squares), "squared_weight"),
            weight=self._graph.constant(array(kernel), "weight"),
            noise=self._graph.constant(array(noise), "noise"),
            bias=self._graph.constant(array(convolution.bias * ACTIVATION_GAIN), "bias"),
        )

    def to_rgb(self, resolution: int) -> tuple[str, str]:
        rgb = self._blocks[resolution].rgb
        assert isinstance(rgb, ToRgb)
        weight = self._graph.constant(array(rgb.scaled_weight()[:, :, None, None]), "weight")
        return weight, self._graph.constant(array(rgb.bias[:, None, None]), "bias")
