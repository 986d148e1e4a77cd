"""The plugins' operators as ONNX functions of standard operators, which native layers compute without plugins.

Maps and the products over them are float16; styles and demodulation are cast where they scale a map. Images are
float32. ToRGB divides its style by the sample's largest magnitude before the product and multiplies by it afterwards,
so that half precision suffices.
"""

from __future__ import annotations

import math

import onnx
import onnx.parser

from engines.graph.writer import OPSET
from engines.tensorrt.operators import DOMAIN, Operator

# [1,3,3,1] x [1,3,3,1] / 16, the FIR filter with the gain 4 of upsampling by 2; and [1,3,3,1] / 4 along the columns.
_FIR = ", ".join(str(a * b / 16) for a in (1, 3, 3, 1) for b in (1, 3, 3, 1))
_COLUMN = "0.25, 0.75, 0.75, 0.25"

_EXPANDED = """
  count = Constant <value_int: int = @{count}> ()
  axis0 = Constant <value_ints = [0]> ()
  count1 = Unsqueeze (count, axis0)
  ones = Constant <value_ints = [1, 1, 1]> ()
  filters = Concat <axis = 0> (count1, ones)
  fir16 = Cast <to = 10> (fir32)
  fir = Expand (fir16, filters)"""

_INPUT = {
    "Tail": f"""
  fir32 = Constant <value = float[1, 1, 4, 4] {{{_FIR}}}> ()
  {_EXPANDED.format(count="channels")}
  convolved = Conv <pads = [1, 1, 1, 1], group: int = @channels> (x, fir)""",
    # The merged weight is a convolution along rows and a transposed one along columns: a stride of (2, 1).
    "ConvUp": f"""
  first = Constant <value_ints = [-1]> ()
  beyond = Constant <value_ints = [-4]> ()
  along_rows = Constant <value_ints = [2]> ()
  mirrored = Slice (weight, first, beyond, along_rows, first)
  kernel = Transpose <perm = [3, 0, 1, 2]> (mirrored)
  scattered = ConvTranspose <strides = [2, 1], pads = [0, 1, 0, 1]> (x, kernel)
  fir32 = Constant <value = float[1, 1, 4, 1] {{{_COLUMN}}}> ()
  {_EXPANDED.format(count="pairs")}
  filtered = Conv <pads = [1, 0, 1, 0], group: int = @pairs> (scattered, fir)
  phases = Constant <value_ints: ints = @phases> ()
  split = Reshape (filtered, phases)
  side_by_side = Transpose <perm = [0, 2, 3, 4, 1]> (split)
  shape = Constant <value_ints: ints = @shape> ()
  convolved = Reshape (side_by_side, shape)""",
    "ToRgb": "convolved = Identity (x)",
    "ConvRgb": """
  kernel = Transpose <perm = [0, 3, 1, 2]> (weight)
  convolved = Conv <pads = [1, 1, 1, 1]> (x, kernel)""",
}

_ACTIVATED = """
  spatial = Constant <value_ints = [2, 3]> ()
  demodulation16 = Cast <to = 10> (demodulation)
  demodulation4 = Unsqueeze (demodulation16, spatial)
  demodulated = Mul (convolved, demodulation4)
  noisy = Add (demodulated, noise)
  bias16 = Cast <to = 10> (bias)
  per_channel = Constant <value_ints = [1, -1, 1, 1]> ()
  bias4 = Reshape (bias16, per_channel)
  biased = Add (noisy, bias4)
  leaky = LeakyRelu <alpha = 0.2> (biased)
  """


def function_of(operator: Operator, clamp: float) -> onnx.FunctionProto:
    """The operator's ONNX function; an infinite ``clamp`` means no clamp."""
    kind = operator.name.removeprefix("Last")
    body = _INPUT[kind] + _ACTIVATED + _clip("leaky", "activated", clamp, element=10)
    if "y" in operator.outputs:
        body += _styled("style", "y")
    if "next" in operator.outputs:
        body += _styled("next_style", "next")
    if "image" in operator.outputs:
        body += _image(clamp)
    attributes = {"Tail": "<channels>", "ConvUp": "<pairs, phases, shape>"}.get(kind, "")
    return onnx.parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>\n{operator.name} {attributes} '
        f"({', '.join(operator.inputs)}) => ({', '.join(operator.outputs)})\n{{{body}\n}}"
    )


def _styled(style: str, result: str) -> str:
    return f"""
  {style}16 = Cast <to = 10> ({style})
  {style}4 = Unsqueeze ({style}16, spatial)
  {result} = Mul (activated, {style}4)"""


def _image(clamp: float) -> str:
    return f"""
  magnitude = Abs (rgb_style)
  channel_axis = Constant <value_ints = [1]> ()
  peak = ReduceMax <keepdims = 1> (magnitude, channel_axis)
  tiny = Constant <value_float = 1e-30> ()
  largest = Max (peak, tiny)
  relative = Div (rgb_style, largest)
  relative16 = Cast <to = 10> (relative)
  relative4 = Unsqueeze (relative16, spatial)
  scaled = Mul (activated, relative4)
  rgb_weight16 = Cast <to = 10> (rgb_weight)
  rgb_kernel = Unsqueeze (rgb_weight16, spatial)
  colours16 = Conv (scaled, rgb_kernel)
  colours32 = Cast <to = 1> (colours16)
  largest4 = Unsqueeze (largest, spatial)
  colours = Mul (colours32, largest4)
  rgb_per_channel = Constant <value_ints = [1, 3, 1, 1]> ()
  rgb_bias4 = Reshape (rgb_bias, rgb_per_channel)
  unbounded = Add (colours, rgb_bias4)
  {_clip("unbounded", "bounded", clamp, element=1)}
  rgb_fir = Constant <value = float[3, 1, 4, 4] {{{", ".join([_FIR] * 3)}}}> ()
  below = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], group = 3> (skip, rgb_fir)
  image = Add (below, bounded)"""


def _clip(value: str, result: str, clamp: float, *, element: int) -> str:
    """ONNX nodes that clamp a value of element type 1 (float32) or 10 (float16)."""
    if math.isinf(clamp):
        return f"{result} = Identity ({value})"
    return f"""{result}_upper32 = Constant <value_float = {clamp}> ()
  {result}_lower32 = Constant <value_float = {-clamp}> ()
  {result}_upper = Cast <to = {element}> ({result}_upper32)
  {result}_lower = Cast <to = {element}> ({result}_lower32)
  {result} = Clip ({value}, {result}_lower, {result}_upper)"""
