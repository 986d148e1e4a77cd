"""A generator's parameters on a device, as a live generator keeps its parents'; all are linear in a blend's shares.

Letters in shapes: D width of w, I and O input and output channels, H and W a layer's output height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from engines.contract.blends import TransferShares, terms
from engines.graph.generator_weights import ModulatedConvWeights, SynthesisBlockWeights, ToRgbWeights


class ConvParameters(NamedTuple):
    """Those of ``ModulatedConvWeights``, float32; ``affine`` is [D, I]."""

    affine: Tensor
    affine_bias: Tensor
    weight: Tensor
    bias: Tensor
    noise: Tensor


class RgbParameters(NamedTuple):
    """Those of ``ToRgbWeights``, float32; ``affine`` is [D, I]."""

    affine: Tensor
    affine_bias: Tensor
    weight: Tensor
    bias: Tensor


class BlockParameters(NamedTuple):
    """Those of one resolution's convolutions, one at the lowest and two at the others, and of its toRGB."""

    convolutions: tuple[ConvParameters, ...]
    rgb: RgbParameters


Parameters = TypeVar("Parameters", ConvParameters, RgbParameters)


def block_parameters(block: SynthesisBlockWeights, device: torch.device) -> BlockParameters:
    """Put the parameters of a resolution on a device."""
    layers = [layer for layer in (block.up, block.conv) if layer is not None]
    return BlockParameters(tuple(_convolution(layer, device) for layer in layers), _rgb(block.rgb, device))


def _convolution(layer: ModulatedConvWeights, device: torch.device) -> ConvParameters:
    return ConvParameters(*_shared(layer, device), torch.tensor(layer.noise, device=device))


def _rgb(layer: ToRgbWeights, device: torch.device) -> RgbParameters:
    return RgbParameters(*_shared(layer, device))


def _shared(layer: ModulatedConvWeights | ToRgbWeights, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tensor = partial(torch.tensor, device=device)
    return tensor(layer.affine.weight.T), tensor(layer.affine.bias), tensor(layer.weight), tensor(layer.bias)


def blended(parents: Sequence[Parameters], shares: TransferShares) -> Parameters:
    """Return the blend of a layer's parameters of each parent; see ``blended_tensor``."""
    return type(parents[0])(*(blended_tensor(values, shares) for values in zip(*parents, strict=True)))


def blended_tensor(values: Sequence[Tensor], shares: TransferShares) -> Tensor:
    """Return ``engines.contract.blends.combined`` of float32 tensors; a tensor that has all is returned itself."""
    (first, factor), *others = terms(shares)
    if not others:
        return values[first]
    total = factor * values[first]
    for number, factor in others:
        total += factor * values[number]
    return total
