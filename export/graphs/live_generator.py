"""A live generator's graph: (w, psi, blend) -> uint8 pictures, with the parameters of all parents of a blend.

The graph is the generator's, but its weights are computed: the parents' raw parameters are blended by the shares of
their resolution, then multiplied by the gains that are part of the constants in other generators' graphs. The order of
these operations is that of an exported blend, whose weights therefore are the same bit for bit. All rows of a batch get
the blend of its first row; engines run the rows of each blend on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import onnx
from torch import Tensor

from engines.contract import tensors
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature, resolutions_to
from engines.graph.generator_weights import WEIGHT_BLEND
from engines.graph.writer import GraphWriter
from export.graphs.functions import DOMAIN
from export.graphs.generator import write_generator
from export.graphs.layers import array
from export.graphs.operands import ConvolutionOperands
from export.networks.generator import ACTIVATION_GAIN, Generator

DESCRIPTION = (
    "StyleGAN2's generator with the parents of a blend: W+ codes w, truncation psi and blend, the share of each "
    "transferred model at each resolution -> RGB pictures; all rows of a batch get the blend of the first row"
)


def onnx_from_live_generator(parents: Sequence[Generator], signature: Signature) -> onnx.ModelProto:
    """Write the graph of a blend of generators of one architecture, base first.

    Mapping's average w, noise maps and clamps are those of the base.
    """
    graph = GraphWriter("generator", DESCRIPTION)
    return write_generator(graph, parents[0], signature, _LiveOperands(graph, parents))


class _LiveOperands:
    """The operands of a live generator, computed in the graph; see ``LayerOperands``."""

    def __init__(self, graph: GraphWriter, parents: Sequence[Generator]) -> None:
        self._graph = graph
        self._parents = [dict(parent.state_dict()) for parent in parents]
        resolutions = resolutions_to(max(resolution for resolution, _ in parents[0].blocks))
        with graph.scope("blend"):
            shares = graph.node("Reshape", tensors.BLEND, [-1])  # those of the first row come first
            places = np.arange(len(resolutions) * (len(parents) - 1)).reshape(len(resolutions), -1, 1)
            self._shares = {
                resolution: [graph.node("Gather", shares, place, axis=0) for place in row]
                for resolution, row in zip(resolutions, places, strict=True)
            }

    def constant_input(self) -> str:
        with self._graph.scope("synthesis.4"):
            return self._blended("synthesis.4.const", lambda const: const[None])

    def affine(self, resolution: int, layer: str) -> tuple[str, str]:
        path = f"synthesis.{resolution}.{layer}.affine"
        return self._scaled(f"{path}.weight"), self._blended(f"{path}.bias")

    def convolution(self, resolution: int, layer: str) -> ConvolutionOperands:
        path, up, gain = f"synthesis.{resolution}.{layer}", layer == "up", np.float32(ACTIVATION_GAIN)
        weight = self._scaled(f"{path}.weight", lambda kernel: kernel.transpose(0, 1) if up else kernel)
        squares = self._graph.node("ReduceSumSquare", weight, np.array([2, 3]), keepdims=0)
        squares = squares if up else self._graph.node("Transpose", squares, perm=[1, 0])
        strength = self._graph.node("Mul", self._blended(f"{path}.noise_strength"), gain)
        noise = self._graph.constant(array(self._parents[0][f"{path}.noise"][None, None]), "noise")
        return ConvolutionOperands(
            squares=self._graph.node("Div", squares, np.float32(ACTIVATION_GAIN**2)),
            weight=weight,
            noise=self._graph.node("Mul", noise, strength),
            bias=self._graph.node("Mul", self._blended(f"{path}.bias"), gain),
        )

    def to_rgb(self, resolution: int) -> tuple[str, str]:
        path = f"synthesis.{resolution}.rgb"
        weight = self._scaled(f"{path}.weight", lambda weight: weight[:, :, None, None])
        return weight, self._blended(f"{path}.bias", lambda bias: bias[:, None, None])

    def _scaled(self, name: str, view: Callable[[Tensor], Tensor] = Tensor.contiguous) -> str:
        """Add a blended weight with the gain of the equalised learning rate."""
        inputs = self._parents[0][name][0].numel()
        return self._graph.node("Div", self._blended(name, view), np.float32(sqrt(inputs)))

    def _blended(self, name: str, view: Callable[[Tensor], Tensor] = Tensor.contiguous) -> str:
        """Add a parameter of all parents, which those that have it in common share, and its blend."""
        _, resolution, *_, last = name.split(".")
        arrays = [_array(parent[name], view) for parent in self._parents]
        firsts = [next(i for i, other in enumerate(arrays) if np.array_equal(other, array)) for array in arrays]
        stored = {i: self._graph.constant(arrays[i], f"{last}.parent{i}") for i in sorted({*firsts})}
        inputs = [*(stored[i] for i in firsts), *self._shares[int(resolution)]]
        return self._graph.outputs(WEIGHT_BLEND, inputs, ["y"], domain=DOMAIN)[0]


def _array(parameter: Tensor, view: Callable[[Tensor], Tensor]) -> AnyArray:
    return array(view(parameter).contiguous())
