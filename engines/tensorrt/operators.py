"""The plugins' inputs and outputs: the interface between the rewritten graph and the kernels.

A kernel's parameters are an operator's inputs followed by its outputs, in this order. Maps are float16 [N, C, H, W] in
TensorRT's format HWC8: channels last, if C is a multiple of 8. All other tensors are in row-major order. Weights of
convolutions are [O, 3, 3, I], as the kernels read them.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "toonify"

FEATURE_MAPS = frozenset({"x", "y", "next"})
FLOAT16_OPERANDS = FEATURE_MAPS | {"weight", "noise"}


@dataclass(frozen=True)
class Operator:
    """An operator of the rewritten graph, which is a TensorRT plugin."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the inputs and outputs, in order."""
        return self.inputs + self.outputs

    @property
    def types(self) -> str:
        """The operands' types, as TensorRT names them."""
        return ",".join("FP16" if name in FLOAT16_OPERANDS else "FP32" for name in self.operands)

    @property
    def layouts(self) -> str:
        """The operands' formats, as TensorRT names them."""
        return ",".join("HWC8" if name in FEATURE_MAPS else "LINEAR" for name in self.operands)


_ACTIVATION = ("demodulation", "noise", "bias")
_RGB = ("rgb_weight", "rgb_style", "rgb_bias", "skip")

TAIL = Operator("Tail", ("x", *_ACTIVATION, "style"), ("y",))
"""The tail of an up-convolution, after its transposed convolution."""

CONV_UP = Operator("ConvUp", ("x", "weight", *_ACTIVATION, "style"), ("y",))
"""The whole up-convolution; its weight is merged along rows, [2 O, 3, 3, I]."""

TO_RGB = Operator("ToRgb", ("x", *_ACTIVATION, *_RGB, "next_style"), ("next", "image"))
"""The tail of a resolution's last convolution, and ToRGB."""

LAST_TO_RGB = Operator("LastToRgb", ("x", *_ACTIVATION, *_RGB), ("image",))
"""``TO_RGB`` at the last resolution."""

CONV_RGB = Operator("ConvRgb", ("x", "weight", *_ACTIVATION, *_RGB, "next_style"), ("next", "image"))
"""A resolution's last convolution with its tail and ToRGB."""

LAST_CONV_RGB = Operator("LastConvRgb", ("x", "weight", *_ACTIVATION, *_RGB), ("image",))
"""``CONV_RGB`` at the last resolution."""

OPERATORS = {operator.name: operator for operator in (TAIL, CONV_UP, TO_RGB, LAST_TO_RGB, CONV_RGB, LAST_CONV_RGB)}
