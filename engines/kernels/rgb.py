"""The operands of ToRGB, which ends a resolution: they give its image and the next resolution's input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.kernels.launch import Constant
from engines.kernels.operands import Activation, check_operand, empty_map


@dataclass(frozen=True)
class ToRgbVariant:
    """The specialisation of a kernel with ToRGB.

    Attributes:
        has_skip: whether the image of the lower resolutions is added.
        has_next: whether a resolution follows, whose input is written.
        quantised: whether the image is the picture in uint8.
        clamp: the bound of the activation's magnitude; None = unbounded.
        rgb_clamp: the bound of ToRGB's output; None = unbounded.
    """

    has_skip: bool = True
    has_next: bool = True
    quantised: bool = False
    clamp: float | None = None
    rgb_clamp: float | None = None

    @property
    def pointers(self) -> dict[str, torch.dtype | None]:
        """ToRGB's pointer parameters, which are the last ones of a kernel."""
        return {
            "rgb_weight_ptr": torch.float32,
            "rgb_style_ptr": torch.float32,
            "rgb_bias_ptr": torch.float32,
            "skip_ptr": torch.float32 if self.has_skip else None,
            "next_style_ptr": torch.float32 if self.has_next else None,
            "next_ptr": torch.float16 if self.has_next else None,
            "image_ptr": torch.uint8 if self.quantised else torch.float32,
        }

    @property
    def constants(self) -> dict[str, Constant]:
        """The constants of a kernel with these pointers."""
        return {"CLAMP": self.clamp, "RGB_CLAMP": self.rgb_clamp, "QUANTISED": self.quantised}


@dataclass(frozen=True)
class ToRgbOperands:
    """The operands of image = clamp(sum over channels of y * style * weight, + bias) + FIR-upsampled skip.

    y is the resolution's activated map, float [N, O, H, W].

    Attributes:
        weight: float32 [3, O], including the gain of the equalised learning rate.
        style: float32 [N, O].
        bias: float32 [3].
        skip: the image of the lower resolutions, float32 [N, 3, H / 2, W / 2].
        next_style: the style of the next resolution's up-convolution, float32 [N, O]; y * next_style is its input.
        quantised: whether to give the picture, trunc(clamp(127.5 image + 128, 0, 255)), instead of the image.
        clamp: bound of |image| before the skip is added, for networks trained with one.
    """

    weight: Tensor
    style: Tensor
    bias: Tensor
    skip: Tensor | None = None
    next_style: Tensor | None = None
    quantised: bool = False
    clamp: float | None = None

    def variant(self, activation: Activation | None) -> ToRgbVariant:
        """The specialisation of the kernel that takes these operands."""
        return ToRgbVariant(
            has_skip=self.skip is not None,
            has_next=self.next_style is not None,
            quantised=self.quantised,
            clamp=None if activation is None else activation.clamp,
            rgb_clamp=self.clamp,
        )

    def pointers(self, batch: int, channels: int, height: int, width: int) -> dict[str, Tensor]:
        """The input tensors for ``ToRgbVariant.pointers``.

        Raises:
            EngineError: an operand does not fit a map [batch, channels, height, width].
        """
        pointers = {
            "rgb_weight_ptr": check_operand("ToRGB's weight", self.weight, torch.float32, (3, channels)),
            "rgb_style_ptr": check_operand("ToRGB's style", self.style, torch.float32, (batch, channels)),
            "rgb_bias_ptr": check_operand("ToRGB's bias", self.bias, torch.float32, (3,)),
        }
        if self.skip is not None:
            half = [side // 2 if side % 2 == 0 else f"{side} / 2" for side in (height, width)]
            pointers["skip_ptr"] = check_operand("skip", self.skip, torch.float32, (batch, 3, *half))
        if self.next_style is not None:
            pointers["next_style_ptr"] = check_operand("next style", self.next_style, torch.float32, (batch, channels))
        return pointers

    def outputs(self, batch: int, channels: int, height: int, width: int) -> dict[str, Tensor]:
        """Uninitialised output tensors for ``ToRgbVariant.pointers``."""
        if self.quantised:
            outputs = {"image_ptr": self.weight.new_empty((batch, height, width, 3), dtype=torch.uint8)}
        else:
            outputs = {"image_ptr": self.weight.new_empty((batch, 3, height, width))}
        if self.next_style is not None:
            outputs["next_ptr"] = empty_map(self.weight, (batch, channels, height, width))
        return outputs
