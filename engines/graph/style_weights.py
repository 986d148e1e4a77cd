"""The layers' weights stacked, so that all styles and all demodulations are one batched matrix product each.

Letters in shapes: D width of w, A affine maps, K convolutions, C channels of the widest layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engines.graph.generator_weights import ExportedGeneratorWeights
from engines.kernels.weights import NormalisedWeight


@dataclass(frozen=True)
class StyleWeights:
    """The affine maps of the convolutions, then those of the ToRGB layers; all are padded with zeros to C channels.

    Attributes:
        rows: the row of W+ that each affine map reads, int64 [A].
        affine: float32 [A, D, C].
        bias: float32 [A, 1, C].
        squares: ``NormalisedWeight.squares`` of each convolution, float32 [K, C, C].
        epsilon: ``NormalisedWeight.epsilon`` of each convolution, float32 [K, 1, C].
        style_widths: the number of channels of each of the A styles.
        demodulation_widths: the number of channels of each of the K demodulations.
    """

    rows: Tensor
    affine: Tensor
    bias: Tensor
    squares: Tensor
    epsilon: Tensor
    style_widths: tuple[int, ...]
    demodulation_widths: tuple[int, ...]

    def write_affine(self, index: int, affine: Tensor, bias: Tensor) -> None:
        """Overwrite an affine map, [D, I] and [I], in place."""
        width = self.style_widths[index]
        self.affine[index, :, :width].copy_(affine)
        self.bias[index, 0, :width].copy_(bias)

    def write_demodulation(self, index: int, squares: Tensor, epsilon: Tensor) -> None:
        """Overwrite what a convolution's demodulation takes of its weight, [I, O] and [O], in place."""
        channels_in, channels_out = squares.shape
        self.squares[index, :channels_in, :channels_out].copy_(squares)
        self.epsilon[index, 0, :channels_out].copy_(epsilon)


def style_weights(generator: ExportedGeneratorWeights, kernels: Sequence[NormalisedWeight]) -> StyleWeights:
    """Stack the weights of a generator on the device of ``kernels``, which are its convolutions' weights."""
    affines = [layer.affine for layer in generator.convolutions]
    affines += [resolution.rgb.affine for resolution in generator.resolutions]
    style_widths, device = tuple(len(affine.bias) for affine in affines), kernels[0].squares.device
    widest = max(style_widths)
    squares = [functional.pad(kernel.squares, (0, 0, 0, widest - len(kernel.squares))) for kernel in kernels]
    return StyleWeights(
        rows=torch.tensor([affine.row for affine in affines], device=device),
        affine=_stack([torch.tensor(affine.weight.T, device=device) for affine in affines], widest),
        bias=_stack([torch.tensor(affine.bias[None], device=device) for affine in affines], widest),
        squares=_stack(squares, widest),
        epsilon=_stack([kernel.epsilon[None] for kernel in kernels], widest),
        style_widths=style_widths,
        demodulation_widths=tuple(len(kernel.epsilon) for kernel in kernels),
    )


def _stack(tensors: Sequence[Tensor], width: int) -> Tensor:
    return torch.stack([functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in tensors])
