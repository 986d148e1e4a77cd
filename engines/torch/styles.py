"""(w [N, L, D], psi [N, 1]) -> the styles of all layers: by batched matrix products, or by the fused kernels.

Letters in shapes: N batch, L rows of W+, D width of w, A affine maps, K convolutions, C channels of the widest layer,
I and O input and output channels, S and M the sums of all styles and of all demodulations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from engines.graph.style_weights import StyleWeights
from engines.kernels.styles import demodulation_blocks, demodulations, style_blocks, styles
from engines.kernels.weights import modulation


@dataclass(frozen=True)
class LayerStyles:
    """Each convolution's style [N, I] and demodulation [N, O], and each ToRGB's style [N, I], in float32."""

    styles: tuple[Tensor, ...]
    demodulations: tuple[Tensor, ...]
    rgb_styles: tuple[Tensor, ...]


class StyleComputation(Protocol):
    """A function of w and psi, whose weights can be overwritten in place."""

    @property
    def weights(self) -> StyleWeights | PackedStyleWeights: ...

    def __call__(self, w: Tensor, psi: Tensor) -> LayerStyles: ...


class BatchedStyles:
    """All styles are one batched matrix product in float32, all demodulations another."""

    def __init__(self, weights: StyleWeights, w_avg: Tensor) -> None:
        self.weights, self._w_avg = weights, w_avg

    def __call__(self, w: Tensor, psi: Tensor) -> LayerStyles:
        """Run a batch: [N, L, D] and [N, 1]."""
        w = w + (1 - psi[:, :, None]) * (self._w_avg - w)
        weights, count = self.weights, len(self.weights.demodulation_widths)
        rows = w.index_select(1, weights.rows).transpose(0, 1)  # [A, N, D]
        raw, rgb_styles = torch.baddbmm(weights.bias, rows, weights.affine).tensor_split([count])
        normalised, demodulation = modulation(raw, weights.squares, weights.epsilon)  # [K, N, C] each
        return LayerStyles(
            _unpadded(normalised, weights.style_widths[:count]),
            _unpadded(demodulation, weights.demodulation_widths),
            _unpadded(rgb_styles, weights.style_widths[count:]),
        )


def _unpadded(layers: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(layer[:, :width].contiguous() for layer, width in zip(layers, widths, strict=True))


@dataclass(frozen=True)
class PackedStyleWeights:
    """The weights of ``StyleWeights`` as the fused kernels read them: in float16, all layers one below the other.

    Attributes:
        affine: float16 [S, D].
        bias: float32 [S].
        squares: ``NormalisedWeight.squares`` times the layer's input channels, transposed, padded with zeros, float16
            [M, C].
        epsilon: float32 [M].
        style_widths: the number of channels of each of the A styles.
        demodulation_widths: the number of channels of each of the K demodulations.
    """

    affine: Tensor
    bias: Tensor
    squares: Tensor
    epsilon: Tensor
    style_widths: tuple[int, ...]
    demodulation_widths: tuple[int, ...]

    def write_affine(self, index: int, affine: Tensor, bias: Tensor) -> None:
        """Overwrite an affine map, [D, I] and [I], in place."""
        place = _places(self.style_widths)[index]
        self.affine[place].copy_(affine.T)
        self.bias[place].copy_(bias)

    def write_demodulation(self, index: int, squares: Tensor, epsilon: Tensor) -> None:
        """Overwrite what a convolution's demodulation takes of its weight, [I, O] and [O], in place."""
        place, channels_in = _places(self.demodulation_widths)[index], len(squares)
        # A sum of squares is at most 1 / I, where float16 has few digits left.
        self.squares[place, :channels_in].copy_(squares.T * channels_in)
        self.epsilon[place].copy_(epsilon)


def packed(weights: StyleWeights) -> PackedStyleWeights:
    """Pack the weights of a generator, on their device."""
    style_widths, demodulation_widths = weights.style_widths, weights.demodulation_widths
    affine, squares = weights.affine, weights.squares
    result = PackedStyleWeights(
        affine=affine.new_empty((sum(style_widths), affine.shape[1]), dtype=torch.float16),
        bias=affine.new_empty(sum(style_widths)),
        squares=squares.new_zeros((sum(demodulation_widths), squares.shape[1]), dtype=torch.float16),
        epsilon=squares.new_empty(sum(demodulation_widths)),
        style_widths=style_widths,
        demodulation_widths=demodulation_widths,
    )
    for index, width in enumerate(style_widths):
        result.write_affine(index, affine[index, :, :width], weights.bias[index, 0, :width])
    for index, (channels_in, channels) in enumerate(zip(style_widths, demodulation_widths, strict=False)):
        epsilon = weights.epsilon[index, 0, :channels]
        result.write_demodulation(index, squares[index, :channels_in, :channels], epsilon)
    return result


def _places(widths: Sequence[int]) -> list[slice]:
    """Each layer's channels among those of all layers."""
    ends = list(accumulate(widths))
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


class FusedStyles:
    """One kernel for all styles, and one for all demodulations; the results are slices of theirs."""

    def __init__(self, weights: StyleWeights, w_avg: Tensor) -> None:
        self.weights, self._w_avg = packed(weights), w_avg
        convolutions = weights.style_widths[: len(weights.demodulation_widths)]
        self._channels_in = sum(convolutions)
        style_table = style_blocks(weights.rows.tolist(), weights.style_widths)
        demodulation_table = demodulation_blocks(convolutions, weights.demodulation_widths)
        self._style_blocks, self._demodulation_blocks = (
            torch.tensor(table, dtype=torch.int32, device=w_avg.device) for table in (style_table, demodulation_table)
        )

    def __call__(self, w: Tensor, psi: Tensor) -> LayerStyles:
        """Run a batch: [N, L, D] and [N, 1]."""
        weights, batch, count = self.weights, len(w), len(self.weights.demodulation_widths)
        raw = styles(w.contiguous(), psi.contiguous(), self._w_avg, weights.affine, weights.bias, self._style_blocks)
        normalised, demodulation = demodulations(
            raw, weights.squares, weights.epsilon, self._demodulation_blocks, batch, self._channels_in
        )
        return LayerStyles(
            _layers(normalised, weights.style_widths[:count], batch),
            _layers(demodulation, weights.demodulation_widths, batch),
            _layers(raw, weights.style_widths, batch)[count:],
        )


def _layers(values: Tensor, widths: Sequence[int], batch: int) -> tuple[Tensor, ...]:
    """The layers [N, width] of packed values."""
    return tuple(part.view(batch, -1) for part in torch.split(values, [batch * width for width in widths]))
