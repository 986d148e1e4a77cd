"""StyleGAN2's generator in PyTorch: all styles in one batched matrix product, all demodulations in another, then maps.

Letters in shapes: N batch, L rows of W+, D width of w, A affine maps, K convolutions, C channels of the widest layer,
I and O input and output channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engines.graph.generator_weights import GeneratorWeights
from engines.graph.style_weights import StyleWeights, style_weights
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import Rgb
from engines.kernels.weights import convolution_weight, modulation
from engines.torch.passes import Passes


@dataclass(frozen=True)
class _Scales:
    """What codes make of the weights: for each convolution float32 [N, I] and [N, O], for each ToRGB [N, I]."""

    styles: tuple[Tensor, ...]
    demodulations: tuple[Tensor, ...]
    rgb_styles: tuple[Tensor, ...]


class _Styles:
    """(w, psi) -> scales, in float32."""

    def __init__(self, w_avg: Tensor, weights: StyleWeights) -> None:
        self._w_avg, self._weights = w_avg, weights

    def __call__(self, w: Tensor, psi: Tensor) -> _Scales:  # [N, L, D], [N, 1]
        w = w + (1 - psi[:, :, None]) * (self._w_avg - w)
        weights, count = self._weights, len(self._weights.widths_out)
        rows = w.index_select(1, weights.rows).transpose(0, 1)  # [A, N, D]
        styles, rgb_styles = torch.baddbmm(weights.bias, rows, weights.affine).tensor_split([count])
        styles, demodulations = modulation(styles, weights.squares, weights.epsilon)  # [K, N, C] each
        return _Scales(
            _unpadded(styles, weights.widths[:count]),
            _unpadded(demodulations, weights.widths_out),
            _unpadded(rgb_styles, weights.widths[count:]),
        )


def _unpadded(layers: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(layer[:, :width].contiguous() for layer, width in zip(layers, widths, strict=True))


class TorchGenerator:
    """(w, psi) -> image, uint8 [N, R, R, 3]; any batch."""

    def __init__(self, weights: GeneratorWeights, passes: Passes, device: torch.device) -> None:
        """Put the weights on ``device``, in the form that ``passes`` takes them."""
        resolutions = weights.resolutions
        self._tensor = partial(torch.tensor, device=device)
        layers = weights.convolutions
        kernels = [convolution_weight(self._tensor(layer.weight)) for layer in layers]
        self._styles = _Styles(self._tensor(weights.w_avg), style_weights(weights, kernels))
        self._constant = self._tensor(weights.constant)  # [1, C, 4, 4]
        self._dtype = passes.dtype
        self._activations = [
            partial(
                Activation,
                noise=self._tensor(layer.noise, dtype=passes.dtype),
                bias=self._tensor(layer.bias),
                clamp=layer.clamp,
            )
            for layer in layers
        ]
        self._rgbs = [
            partial(
                Rgb,
                weight=self._tensor(resolution.rgb.weight),
                bias=self._tensor(resolution.rgb.bias),
                clamp=resolution.rgb.clamp,
            )
            for resolution in resolutions
        ]
        sizes = [len(layer.noise) for layer in layers]
        self._ups = [passes.up(*layer) for layer in zip(kernels[1::2], sizes[1::2], strict=True)]
        self._lasts = [passes.last(*layer) for layer in zip(kernels[::2], sizes[::2], strict=True)]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named tensors in, named tensors out."""
        scales = self._styles(inputs["w"], inputs["psi"])
        activations = [
            activation(demodulation)
            for activation, demodulation in zip(self._activations, scales.demodulations, strict=True)
        ]
        x: Tensor | None = (self._constant * scales.styles[0][:, :, None, None]).to(self._dtype)
        image: Tensor | None = None
        for level, last in enumerate(self._lasts):
            assert x is not None
            if level > 0:
                x = self._ups[level - 1](x, activations[2 * level - 1], scales.styles[2 * level])
            following = scales.styles[2 * level + 1] if level < len(self._ups) else None
            rgb = self._rgbs[level](
                style=scales.rgb_styles[level], skip=image, next_style=following, quantised=following is None
            )
            image, x = last(channels_last(x), activations[2 * level], rgb)
        assert image is not None
        return {"image": image}
