"""The layers of a StyleGAN1 generator, and the shapes of its tensors under the names of ``export.weights``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from export.checkpoints.layout import width
from export.weights import Tensors


@dataclass(frozen=True)
class LayerLayout:
    """A layer with a style; ``up`` is the first of its resolution, which at 4x4 is the constant."""

    resolution: int
    kind: Literal["up", "conv"]

    @property
    def name(self) -> str:
        return f"synthesis.{self.resolution}.{self.kind}"

    @property
    def index(self) -> int:
        """The layer's number in the order of computation, which is its row of W+ and the number of its noise map."""
        return 2 * self.resolution.bit_length() - 6 + (self.kind == "conv")

    @property
    def is_constant(self) -> bool:
        return self.index == 0

    @property
    def parts(self) -> tuple[str, ...]:
        common = ("bias", "affine.weight", "affine.bias", "noise_strength", "noise")
        return common if self.is_constant else ("weight", *common)


def styled_layers(resolution: int) -> list[LayerLayout]:
    """Return the layers from 4x4 to ``resolution`` in the order of computation."""
    sizes = [1 << level for level in range(2, resolution.bit_length())]
    return [LayerLayout(size, kind) for size in sizes for kind in ("up", "conv")]


def synthesis_shapes(resolution: int, tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a synthesis network whose widths are those of ``tensors``."""
    layers = styled_layers(resolution)
    w_dim = width(tensors, "synthesis.4.conv.affine.weight")
    channels = {layer.resolution: width(tensors, f"synthesis.{layer.resolution}.conv.bias") for layer in layers}
    shapes: dict[str, tuple[int, ...]] = {
        "synthesis.4.const": (channels[4], 4, 4),
        f"synthesis.{resolution}.rgb.weight": (3, channels[resolution]),
        f"synthesis.{resolution}.rgb.bias": (3,),
    }
    for layer in layers:
        shapes |= _layer_shapes(layer, channels, w_dim)
    return shapes


def _layer_shapes(layer: LayerLayout, channels: Mapping[int, int], w_dim: int) -> dict[str, tuple[int, ...]]:
    r = layer.resolution
    inputs, outputs = channels.get(r // 2 if layer.kind == "up" else r, 0), channels[r]
    shapes: dict[str, tuple[int, ...]] = {
        "weight": (outputs, inputs, 3, 3),
        "bias": (outputs,),
        "affine.weight": (2 * outputs, w_dim),
        "affine.bias": (2 * outputs,),
        "noise_strength": (outputs,),
        "noise": (r, r),
    }
    return {f"{layer.name}.{part}": shapes[part] for part in layer.parts}
