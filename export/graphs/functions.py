"""Model-local ONNX functions with bodies of standard operators: the modulated convolution, and a live blend's weights.

A node ``toonify::ModulatedConv2d`` runs in every engine: one with a plugin of that name uses the plugin, others use the
function's body in the file. For engines without support for model-local functions it is inlined (``onnx.inliner``).

    y = leaky_relu(conv(x * style) * demodulation + noise + bias), clamped if the network was trained with conv_clamp

The activation's gain sqrt 2 is folded into demodulation, noise and bias, since leaky ReLU is positively homogeneous.
Noise and bias are added one after the other, since their sum would be folded to a constant of the activation's full
size (649 MB instead of 135 MB for a 1024 generator).

Shapes: x [N or 1, I, H, W], style [N, I], demodulation [N, O], noise [1, 1, H', W'], bias [O], y [N, O, H', W'];
weight [O, I, 3, 3]. If ``up`` is 1: H' = 2H, weight [I, O, 3, 3] in the order of ConvTranspose, and fir [O, 1, 4, 4].
"""

from __future__ import annotations

import onnx
import onnx.parser

from engines.graph.generator_weights import MODULATED_CONV, MODULATED_CONV_UP, WEIGHT_BLEND
from engines.graph.writer import OPSET

DOMAIN = "toonify"
PLUGIN_ATTRIBUTES: dict[str, str | int] = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}
"""Attributes by which TensorRT's parser finds the plugin; other engines ignore them."""

_CONVOLUTION = {
    MODULATED_CONV: "convolved = Conv <pads = [1, 1, 1, 1]> (scaled, weight)",
    MODULATED_CONV_UP: """doubled = ConvTranspose <strides = [2, 2]> (scaled, weight)
  convolved = Conv <pads = [1, 1, 1, 1], group: int = @channels> (doubled, fir)""",
}
_INPUTS = {
    MODULATED_CONV: "x, weight, style, demodulation, noise, bias",
    MODULATED_CONV_UP: "x, weight, fir, style, demodulation, noise, bias",
}
_ACTIVATION = {
    False: "y = LeakyRelu <alpha = 0.2> (biased)",
    True: """activated = LeakyRelu <alpha = 0.2> (biased)
  upper = Constant <value_float: float = @clamp> ()
  lower = Neg (upper)
  y = Clip (activated, lower, upper)""",
}


def modulated_conv_function(name: str, *, clamp: bool) -> onnx.FunctionProto:
    """Return the function ``MODULATED_CONV`` or ``MODULATED_CONV_UP``; all layers of a network ``clamp``, or none."""
    attributes = ["up", "channels"] + ["clamp"] * clamp
    return onnx.parser.parse_function(f"""
<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
{name} <{", ".join(attributes)}> ({_INPUTS[name]}) => (y)
{{
  spatial = Constant <value_ints = [2, 3]> ()
  style4 = Unsqueeze (style, spatial)
  scaled = Mul (x, style4)
  {_CONVOLUTION[name]}
  demodulation4 = Unsqueeze (demodulation, spatial)
  demodulated = Mul (convolved, demodulation4)
  noisy = Add (demodulated, noise)
  per_channel = Constant <value_ints = [1, -1, 1, 1]> ()
  bias4 = Reshape (bias, per_channel)
  biased = Add (noisy, bias4)
  {_ACTIVATION[clamp]}
}}
""")


def blend_function(parents: int) -> onnx.FunctionProto:
    """Return the function of a blend, for arrays of one shape and shares [1]: the base has what the others leave.

    For two parents it is ``y = (1 - share1) * parent0 + share1 * parent1``, its inputs ``parent0, parent1, share1``.
    Its arithmetic is that of ``engines.contract.blends.combined``.
    """
    others = range(1, parents)
    inputs = [f"parent{number}" for number in range(parents)] + [f"share{number}" for number in others]
    rests = [f"rest{number} = Sub (rest{number - 1}, share{number})" for number in others]
    parts = [f"part{number} = Mul (parent{number}, share{number})" for number in others]
    sums = [f"sum{number} = Add (sum{number - 1}, part{number})" for number in others]
    lines = [*rests, f"sum0 = Mul (parent0, rest{parents - 1})", *parts, *sums]
    body = "\n  ".join(lines)
    return onnx.parser.parse_function(f"""
<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
{WEIGHT_BLEND} ({", ".join(inputs)}) => (sum{parents - 1})
{{
  rest0 = Constant <value_float = 1.0> ()
  {body}
}}
""")
