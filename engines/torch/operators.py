"""An interpreter of ONNX graphs in PyTorch, with the operators of all networks but StyleGAN2 generators.

In half precision, feature maps are float16 from the first convolution on; all other tensors stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_graph import Node, OnnxGraph
from engines.kernels import reference
from engines.kernels.excitation import excitation
from engines.kernels.operands import channels_last
from engines.library_errors import library_errors

Attributes = Mapping[str, Any]
Shape = tuple[int, ...]
Operand = Tensor | tuple[float, ...] | None
"""A node's input. Integers are tuples: the host needs shapes and axes, and must not wait for a GPU to read them."""

_DTYPES = {1: torch.float32, 2: torch.uint8}


def _symmetric_padding(pads: Shape) -> Shape:
    """The padding of each dimension, which must be the same at both ends."""
    begin, end = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if begin != end:
        raise EngineError("padding", got=f"{pads}", expected="the same at both ends", remedy="use --target cpu")
    return begin


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, padding = x.to(weight.dtype), _symmetric_padding(a.get("pads", (0, 0, 0, 0)))
    strides, dilations = a.get("strides", (1, 1)), a.get("dilations", (1, 1))
    return functional.conv2d(x, weight, bias, strides, padding, dilations, a.get("group", 1))


def _conv_transpose(a: Attributes, x: Tensor, weight: Tensor) -> Tensor:
    padding, groups = _symmetric_padding(a["pads"]), a.get("group", 1)
    return functional.conv_transpose2d(x.to(weight.dtype), weight, None, a["strides"], padding, groups=groups)


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(x.to(weight.dtype), weight if a.get("transB") else weight.T, bias)


def _linear_rows(a: Attributes, weights: Tensor, biases: Tensor, *rows: Tensor) -> Tensor:
    """A linear layer for each row: [N, I] each, weights [L, I, O], biases [L, O] -> [N, L, O]."""
    codes = torch.bmm(torch.stack(rows).to(weights.dtype), weights).transpose(0, 1) + biases
    return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], 1) if a["offsets"] else codes


def _matmul(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype) @ y.to(dtype)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    down, right = a["strides"]
    if a["kernel_shape"] == (1, 1):
        return x[:, :, ::down, ::right]
    return functional.max_pool2d(x, a["kernel_shape"], a["strides"], _symmetric_padding(a["pads"]))


def _batch_norm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, variance, weight, bias, eps=a["epsilon"])


def _layer_norm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.layer_norm(x, weight.shape, weight, bias, a["epsilon"])


def _excitation(a: Attributes, x: Tensor, mean: Tensor, squeeze: Tensor, excite: Tensor, shortcut: Tensor) -> Tensor:
    if x.dtype != torch.float16:
        return reference.excitation(x, mean, squeeze, excite, shortcut)
    return excitation(channels_last(x), mean.flatten(1), squeeze, excite, channels_last(shortcut))


def _instance_norm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=weight, bias=bias, eps=a["epsilon"])


def _resize(a: Attributes, x: Tensor, roi: None, scales: tuple[float, ...]) -> Tensor:
    aligned = a["coordinate_transformation_mode"] == "align_corners"
    return functional.interpolate(x, scale_factor=scales[2:], mode="bilinear", align_corners=aligned)


def _reshape(a: Attributes, x: Tensor, shape: Shape) -> Tensor:
    kept = not a.get("allowzero")
    return x.reshape([x.shape[axis] if size == 0 and kept else size for axis, size in enumerate(shape)])


def _slice(a: Attributes, x: Tensor, starts: Shape, ends: Shape, axes: Shape) -> Tensor:
    index = [slice(None)] * x.ndim
    for start, end, axis in zip(starts, ends, axes, strict=True):
        index[axis] = slice(start, end)
    return x[tuple(index)]


def _unsqueeze(a: Attributes, x: Tensor, axes: Shape) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": lambda a, x: functional.avg_pool2d(x, a["kernel_shape"], a["strides"]),
    "BatchNormalization": _batch_norm,
    "Cast": lambda a, x: x.to(_DTYPES[a["to"]]),
    "Clip": lambda a, x, low, high: x.clamp(low, high),
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda a, x, y: x / y,
    "Excitation": _excitation,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a["alpha"]),
    "LinearRows": _linear_rows,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "PRelu": lambda a, x, slope: functional.prelu(x, slope.flatten()),
    "ReduceMean": lambda a, x, axes: x.mean(axes, keepdim=bool(a.get("keepdims", 1))),
    "ReduceSum": lambda a, x, axes: x.sum(axes, keepdim=bool(a.get("keepdims", 1))),
    "Reciprocal": lambda a, x: x.reciprocal(),
    "Relu": lambda a, x: functional.relu(x),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": _slice,
    "Split": lambda a, x: x.chunk(a["num_outputs"], a["axis"]),
    "Sqrt": lambda a, x: x.sqrt(),
    "Squeeze": lambda a, x, axes: x.squeeze(axes),
    "Sub": lambda a, x, y: x - y,
    "Tile": lambda a, x, repeats: x.tile(repeats),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
"""Functions of a node's attributes and its inputs; inputs that are constant in every exported graph are tuples.

``Excitation`` and ``LinearRows`` are none of ONNX: ``excitation_fusion`` and ``batched_rows`` put them into a graph.
"""


@dataclass(frozen=True)
class _Step:
    """A node with its constant inputs by name."""

    node: Node
    constants: Mapping[str, Operand]
    last_used: frozenset[str]
    """The values that no later step reads; their memory is released after this step."""

    def run(self, values: dict[str, Operand]) -> None:
        operands = [self.constants[name] if name in self.constants else values[name] for name in self.node.inputs]
        outputs = OPERATORS[self.node.operator](self.node.attributes, *operands)
        values.update(zip(self.node.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        for name in self.last_used:
            values.pop(name, None)


class TorchGraph:
    """An ONNX graph that is run node by node."""

    def __init__(self, graph: OnnxGraph, outputs: frozenset[str], device: torch.device, *, half: bool = False) -> None:
        """Put the constants on ``device``; ``outputs`` are the names of the returned tensors.

        ``half`` selects half precision, see the module's docstring.

        Raises:
            EngineError: an operator is not in ``OPERATORS``, or nothing gives an output.
        """
        self._name = graph.name
        unknown = {node.operator for node in graph.nodes} - OPERATORS.keys()
        if unknown:
            raise EngineError(
                f"{graph.name} in PyTorch",
                got=f"the operators {', '.join(sorted(unknown))}",
                expected=f"some of {', '.join(OPERATORS)}",
                remedy="use --target cpu",
            )
        given = {name for node in graph.nodes for name in node.outputs}
        if not outputs <= given:
            raise EngineError(
                f"{graph.name} in PyTorch",
                got=f"no output {', '.join(sorted(outputs - given))}",
                expected=f"the outputs {', '.join(sorted(outputs))}",
                remedy="export the model again",
            )
        self._outputs = outputs
        self._steps: list[_Step] = []
        needed = set(outputs)
        for node in reversed(graph.nodes):
            constants = {
                name: _constant(node, graph.constants[name], device, half=half)
                for name in node.inputs
                if name in graph.constants
            }
            self._steps.insert(0, _Step(node, constants | {"": None}, frozenset(node.inputs) - needed))
            needed |= set(node.inputs)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the graph: named inputs -> named outputs."""
        values: dict[str, Any] = dict(inputs)
        # The operators check their operands; what they then raise is about the file, not about this package.
        memory = (torch.OutOfMemoryError,)
        with library_errors("PyTorch", self._name, remedy="export the model again", passed_on=memory):
            for step in self._steps:
                step.run(values)
            return {name: values[name] for name in self._outputs}


def _constant(node: Node, value: AnyArray, device: torch.device, *, half: bool) -> Operand:
    if value.dtype.kind == "i" or node.operator == "Resize":
        return tuple(value.tolist())
    constant = torch.tensor(value, device=device)
    if node.operator not in ("Conv", "ConvTranspose", "Excitation", "PRelu"):
        return constant
    if node.operator != "PRelu" and value.ndim == 4:
        constant = channels_last(constant)
    return constant.half() if half else constant
