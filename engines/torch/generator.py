"""StyleGAN2's generator in PyTorch: all styles are one batched matrix product, all demodulations another.

Letters in shapes: N batch, L rows of W+, D width of w, A affine maps, K convolutions, C channels of the widest layer,
I and O input and output channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engines.graph.generator_weights import ExportedGeneratorWeights
from engines.graph.style_weights import StyleWeights, style_weights
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands
from engines.kernels.weights import modulation, normalise_weight
from engines.torch.layer_backends import LayerBackend


@dataclass(frozen=True)
class _LayerStyles:
    """Each convolution's style [N, I] and demodulation [N, O], and each ToRGB's style [N, I], in float32."""

    styles: tuple[Tensor, ...]
    demodulations: tuple[Tensor, ...]
    rgb_styles: tuple[Tensor, ...]


class _StyleComputation:
    """(w [N, L, D], psi [N, 1]) -> the styles of all layers, in float32."""

    def __init__(self, w_avg: Tensor, weights: StyleWeights) -> None:
        self._w_avg, self._weights = w_avg, weights

    def __call__(self, w: Tensor, psi: Tensor) -> _LayerStyles:  # [N, L, D], [N, 1]
        w = w + (1 - psi[:, :, None]) * (self._w_avg - w)
        weights, count = self._weights, len(self._weights.demodulation_widths)
        rows = w.index_select(1, weights.rows).transpose(0, 1)  # [A, N, D]
        styles, rgb_styles = torch.baddbmm(weights.bias, rows, weights.affine).tensor_split([count])
        styles, demodulations = modulation(styles, weights.squares, weights.epsilon)  # [K, N, C] each
        return _LayerStyles(
            _unpadded(styles, weights.style_widths[:count]),
            _unpadded(demodulations, weights.demodulation_widths),
            _unpadded(rgb_styles, weights.style_widths[count:]),
        )


def _unpadded(layers: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(layer[:, :width].contiguous() for layer, width in zip(layers, widths, strict=True))


class TorchGenerator:
    """(w [N, L, D], psi [N, 1]) -> image, uint8 [N, R, R, 3], for any batch."""

    def __init__(self, weights: ExportedGeneratorWeights, backend: LayerBackend, device: torch.device) -> None:
        """Put the weights on ``device``, in the format of ``backend``."""
        resolutions = weights.resolutions
        self._tensor = partial(torch.tensor, device=device)
        layers = weights.convolutions
        kernels = [normalise_weight(self._tensor(layer.weight)) for layer in layers]
        self._compute_styles = _StyleComputation(self._tensor(weights.w_avg), style_weights(weights, kernels))
        self._constant = self._tensor(weights.constant)  # [1, C, 4, 4]
        self._dtype = backend.dtype
        self._activations = [
            partial(
                Activation,
                noise=self._tensor(layer.noise, dtype=backend.dtype),
                bias=self._tensor(layer.bias),
                clamp=layer.clamp,
            )
            for layer in layers
        ]
        self._rgbs = [
            partial(
                ToRgbOperands,
                weight=self._tensor(resolution.rgb.weight),
                bias=self._tensor(resolution.rgb.bias),
                clamp=resolution.rgb.clamp,
            )
            for resolution in resolutions
        ]
        sizes = [len(layer.noise) for layer in layers]
        self._upsample_convs = [backend.upsample_conv(*layer) for layer in zip(kernels[1::2], sizes[1::2], strict=True)]
        self._convs_to_rgb = [backend.conv_to_rgb(*layer) for layer in zip(kernels[::2], sizes[::2], strict=True)]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch: the tensors w and psi -> the tensor image."""
        layer_styles = self._compute_styles(inputs["w"], inputs["psi"])
        activations = [
            activation(demodulation)
            for activation, demodulation in zip(self._activations, layer_styles.demodulations, strict=True)
        ]
        x: Tensor | None = (self._constant * layer_styles.styles[0][:, :, None, None]).to(self._dtype)
        image: Tensor | None = None
        for level, conv_to_rgb in enumerate(self._convs_to_rgb):
            assert x is not None
            if level > 0:
                x = self._upsample_convs[level - 1](x, activations[2 * level - 1], layer_styles.styles[2 * level])
            following = layer_styles.styles[2 * level + 1] if level < len(self._upsample_convs) else None
            rgb = self._rgbs[level](
                style=layer_styles.rgb_styles[level], skip=image, next_style=following, quantised=following is None
            )
            image, x = conv_to_rgb(channels_last(x), activations[2 * level], rgb)
        assert image is not None
        return {"image": image}
