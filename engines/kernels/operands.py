"""The kernels' operands beside the maps, and the checks that they fit.

Letters in shapes: N batch, I and O input and output channels, H and W the height and width of the layer's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.contract.errors import EngineError

ACTIVATION_POINTERS = {"demodulation_ptr": torch.float32, "noise_ptr": torch.float16, "bias_ptr": torch.float32}
"""The kernels' pointer parameters for an ``Activation``, in order, with their element types."""


@dataclass(frozen=True)
class Activation:
    """The operands of y = clamp(leaky_relu(x * demodulation + noise + bias)), which include the gain sqrt 2.

    Attributes:
        demodulation: float32 [N, O].
        noise: float16 [H, W].
        bias: float32 [O].
        clamp: bound of |y|, for networks trained with one.
    """

    demodulation: Tensor
    noise: Tensor
    bias: Tensor
    clamp: float | None = None

    def pointers(self, batch: int, channels: int, height: int, width: int) -> dict[str, Tensor]:
        """The kernels' arguments, by parameter.

        Raises:
            EngineError: an operand does not fit a map [batch, channels, height, width].
        """
        shapes = {"demodulation": (batch, channels), "noise": (height, width), "bias": (channels,)}
        return {
            f"{name}_ptr": check_operand(name, getattr(self, name), ACTIVATION_POINTERS[f"{name}_ptr"], shape)
            for name, shape in shapes.items()
        }


def check_operand(
    name: str,
    tensor: Tensor,
    dtype: torch.dtype,
    shape: Sequence[int | str],
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return the tensor if it is laid out as a kernel reads it; a kernel does not check bounds itself.

    Raises:
        EngineError: its dtype, shape or memory format differs.
    """
    fits = tensor.dtype == dtype and tuple(tensor.shape) == tuple(shape)
    if fits and tensor.is_contiguous(memory_format=layout):
        return tensor
    raise EngineError(
        f"kernel operand {name!r}",
        got=f"{tensor.dtype} {list(tensor.shape)} with strides {list(tensor.stride())}",
        expected=f"{dtype} [{', '.join(map(str, shape))}] in {layout}",
        remedy="convert the tensor before the call",
    )


def check_map(name: str, tensor: Tensor) -> Tensor:
    """Return the tensor if it is a float16 map [N, C, H, W] in channels_last.

    Raises:
        EngineError: it is something else.
    """
    shape = tuple(tensor.shape) if tensor.ndim == 4 else ("N", "C", "H", "W")
    return check_operand(name, tensor, torch.float16, shape, torch.channels_last)


def channels_last(x: Tensor) -> Tensor:
    """The map in channels_last; the same tensor if it is in that format already."""
    return x.contiguous(memory_format=torch.channels_last)


def empty_map(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An uninitialised float16 map in channels_last, on the device of ``like``."""
    return torch.empty(shape, dtype=torch.float16, device=like.device, memory_format=torch.channels_last)
