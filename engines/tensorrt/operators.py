"""What the plugins take and give: the interface between the rewritten graph and the kernels.

A kernel's parameters are an operator's inputs and then its outputs, in this order. Maps are float16 [N, C, H, W], which
TensorRT lays out as HWC8: channels last, where C is a multiple of 8. Everything else is in row-major order. Weights of
convolutions are [O, 3, 3, I], which is what a kernel reads.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "toonify"

FEATURE_MAPS = frozenset({"x", "y", "next"})
FLOAT16_OPERANDS = FEATURE_MAPS | {"weight", "noise"}


@dataclass(frozen=True)
class Operator:
    """A node of the rewritten graph, and a plugin of TensorRT."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs

    @property
    def types(self) -> str:
        """TensorRT's types of the operands."""
        return ",".join("FP16" if name in FLOAT16_OPERANDS else "FP32" for name in self.operands)

    @property
    def layouts(self) -> str:
        """TensorRT's formats of the operands."""
        return ",".join("HWC8" if name in FEATURE_MAPS else "LINEAR" for name in self.operands)


_ACTIVATION = ("demodulation", "noise", "bias")
_RGB = ("rgb_weight", "rgb_style", "rgb_bias", "skip")

TAIL = Operator("Tail", ("x", *_ACTIVATION, "style"), ("y",))
"""What follows an up-convolution's transposed convolution."""

CONV_UP = Operator("ConvUp", ("x", "weight", *_ACTIVATION, "style"), ("y",))
"""The whole up-convolution; its weight is merged along rows, [2 O, 3, 3, I]."""

TO_RGB = Operator("ToRgb", ("x", *_ACTIVATION, *_RGB, "next_style"), ("next", "image"))
"""What follows a resolution's last convolution."""

LAST_TO_RGB = Operator("LastToRgb", ("x", *_ACTIVATION, *_RGB), ("image",))
"""The same where no resolution follows."""

CONV_RGB = Operator("ConvRgb", ("x", "weight", *_ACTIVATION, *_RGB, "next_style"), ("next", "image"))
"""A resolution's last convolution with all that follows it."""

LAST_CONV_RGB = Operator("LastConvRgb", ("x", "weight", *_ACTIVATION, *_RGB), ("image",))
"""The same where no resolution follows."""

OPERATORS = {operator.name: operator for operator in (TAIL, CONV_UP, TO_RGB, LAST_TO_RGB, CONV_RGB, LAST_CONV_RGB)}
