"""The operators as TensorRT plugins: quick plugins, each with one kernel that is compiled ahead of time.

At build time TensorRT queries each plugin for its outputs' shapes, its operands' formats, and its launch; the kernel's
PTX becomes part of the plan, which needs neither this package nor Python. Shapes are fixed: each layer has its own
kernel, whose only arguments are pointers.

``tensorrt.plugin`` is experimental, and importing it warns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from inspect import Parameter
from typing import Any

import numpy.typing  # noqa: F401  tensorrt.plugin uses numpy.typing, and leaves its import to others
import tensorrt.plugin as trtp

from engines.contract.errors import EngineError
from engines.kernels.ahead_of_time import CompiledKernel, compile_ahead
from engines.kernels.conv_rgb import conv_rgb_spec
from engines.kernels.conv_up import conv_up_spec
from engines.kernels.launch import KernelSpec
from engines.kernels.rgb import ToRgbVariant
from engines.kernels.tail import tail_spec
from engines.kernels.to_rgb import to_rgb_spec
from engines.tensorrt.operators import DOMAIN, OPERATORS, Operator

ATTRIBUTES = {"clamp": float, "capability": int}
"""Every plugin's attributes: the activation's bound, infinite for none, and the GPU's compute capability times 10."""

TACTIC = 1
"""The number of a layer's only kernel; TensorRT's tactic numbers begin at 1."""


def register_plugins() -> None:
    """Register the operators with TensorRT for the life of the process; a second call has no effect."""
    for operator in OPERATORS.values():
        if not hasattr(getattr(trtp.op, DOMAIN, None), operator.name):
            _register(operator)


def _register(operator: Operator) -> None:
    def describe(*inputs: Any, clamp: float, capability: int) -> Any:
        outputs = describe_outputs(operator, dict(zip(operator.inputs, inputs, strict=True)))
        return outputs if len(outputs) > 1 else outputs[0]

    def autotune(*inputs_and_outputs: Any) -> list[Any]:
        return [trtp.AutoTuneCombination(operator.types, operator.layouts, [TACTIC])]

    def implement(*arguments: Any) -> tuple[str, str, Any, Any]:
        *operands, clamp, capability, outputs, _tactic = arguments
        shapes = {
            name: tuple(size.constant_value() for size in tensor.shape_expr)
            for name, tensor in zip(operator.operands, [*operands, *outputs], strict=True)
        }
        return launch_parameters(
            compile_layer(operator.name, tuple(shapes.items()), clamp, capability), batch=shapes["x"][0]
        )

    name = f"{DOMAIN}::{operator.name}"
    described = dict.fromkeys(operator.inputs, trtp.TensorDesc)
    free = dict.fromkeys([*operator.inputs, *ATTRIBUTES], Parameter.empty)
    count = len(operator.outputs)
    result = trtp.TensorDesc if count == 1 else tuple[(trtp.TensorDesc,) * count]  # type: ignore[misc]
    launched = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]
    after = {"outputs": Parameter.empty, "tactic": Parameter.empty}
    trtp.register(name)(_with_signature(describe, described | ATTRIBUTES, result))
    trtp.autotune(name)(
        _with_signature(autotune, described | {"outputs": Parameter.empty}, list[trtp.AutoTuneCombination])
    )
    trtp.aot_impl(name)(_with_signature(implement, free | after, launched))


def _with_signature(function: Callable[..., Any], parameters: dict[str, Any], result: Any) -> Callable[..., Any]:
    """Give a generic function the signature of a specific operator, which TensorRT inspects."""
    signature = inspect.Signature(
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for name, kind in parameters.items()],
        return_annotation=result,
    )
    vars(function)["__signature__"] = signature
    return function


def describe_outputs(operator: Operator, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """The outputs' types and shapes, derived from the inputs'."""
    return tuple(_describe_output(operator, name, inputs) for name in operator.outputs)


def _describe_output(operator: Operator, name: str, inputs: dict[str, Any]) -> Any:
    x = inputs["x"].shape_expr
    if name == "image":
        image = inputs["skip"].like()
        image.shape_expr[2], image.shape_expr[3] = x[2], x[3]
        return image
    y = inputs["x"].like()
    y.shape_expr[1] = inputs["demodulation"].shape_expr[1]
    for axis in (2, 3):
        if operator.name == "Tail":  # The transposed convolution's map is one row and one column larger.
            y.shape_expr[axis] = x[axis] - 1
        elif operator.name == "ConvUp":
            y.shape_expr[axis] = x[axis] * 2
    return y


@cache
def compile_layer(
    operator: str, shapes: tuple[tuple[str, tuple[int, ...]], ...], clamp: float, capability: int
) -> CompiledKernel:
    """Compile a layer's kernel; cached, since TensorRT requests the same one several times.

    Args:
        operator: the operator's name.
        shapes: the shapes of all operands, by name.
        clamp: the activation's bound, infinite for none.
        capability: the GPU's compute capability times 10.

    Raises:
        EngineError: HWC8 would pad the channels, or the capability is unknown.
    """
    sizes = dict(shapes)
    _check_channels(operator, sizes)
    kernel = compile_ahead(kernel_spec(operator, sizes, clamp), capability)
    expected = tuple(f"{name}_ptr" for name in OPERATORS[operator].operands)
    assert kernel.arguments == expected, (kernel.arguments, expected)
    return kernel


def kernel_spec(operator: str, shapes: dict[str, tuple[int, ...]], clamp: float) -> KernelSpec:
    """The kernel specification for operands of these shapes."""
    bound = None if clamp == float("inf") else clamp
    _, channels_in, height, width = shapes["x"]
    channels = shapes["demodulation"][1]
    if operator == "Tail":
        return tail_spec(channels, height - 1, width - 1, up=True, styled=True, clamp=bound)
    if operator == "ConvUp":
        return conv_up_spec(channels_in, channels, 2 * height, 2 * width, clamp=bound)
    # TensorRT accepts no uint8 from plugins: native layers convert the last image to the picture.
    variant = ToRgbVariant(has_next="next" in OPERATORS[operator].outputs, clamp=bound, rgb_clamp=bound)
    if operator in ("ConvRgb", "LastConvRgb"):
        return conv_rgb_spec(channels_in, channels, height, width, variant)
    return to_rgb_spec(channels, height, width, variant)


def launch_parameters(kernel: CompiledKernel, batch: int) -> tuple[str, str, Any, Any]:
    """A launch as TensorRT expects it: name, program, geometry, and scalar arguments, of which there are none."""
    grid_x, grid_y = kernel.grid
    geometry = trtp.KernelLaunchParams(
        grid_x=grid_x, grid_y=grid_y, grid_z=batch, block_x=kernel.threads, shared_mem=kernel.shared_bytes
    )
    return kernel.name, kernel.ptx, geometry, trtp.SymIntExprs(0)


def _check_channels(operator: str, shapes: dict[str, tuple[int, ...]]) -> None:
    channels = {shapes["x"][1], shapes["demodulation"][1]}
    if any(count % 8 for count in channels):
        raise EngineError(
            f"TensorRT plugin {operator}",
            got=f"{' and '.join(map(str, sorted(channels)))} channels",
            expected="multiples of 8, which TensorRT's format HWC8 does not pad",
            remedy="build with --plugins off",
        )
