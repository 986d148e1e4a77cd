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
from engines.kernels.weights import NormalisedWeight, modulation, normalise_weight
from engines.torch.layer_backends import LayerBackend
from engines.torch.layer_parameters import ConvParameters, RgbParameters


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
        tensor = partial(torch.tensor, device=device)
        layers, rgbs = weights.convolutions, [resolution.rgb for resolution in weights.resolutions]
        self._backend, self._dtype = backend, backend.dtype
        normalised = [normalise_weight(tensor(layer.weight)) for layer in layers]
        self._styles = style_weights(weights, normalised)
        self._compute_styles = _StyleComputation(tensor(weights.w_avg), self._styles)
        self._constant = tensor(weights.constant)  # [1, C, 4, 4]
        self._noises = [tensor(layer.noise, dtype=backend.dtype) for layer in layers]
        self._biases = [tensor(layer.bias) for layer in layers]
        self._clamps = [layer.clamp for layer in layers]
        self._rgb_weights = [tensor(rgb.weight) for rgb in rgbs]
        self._rgb_biases = [tensor(rgb.bias) for rgb in rgbs]
        self._rgb_clamps = [rgb.clamp for rgb in rgbs]
        self._kernels = [self._kernel(index, weight) for index, weight in enumerate(normalised)]
        sized = [(kernel, len(noise)) for kernel, noise in zip(self._kernels, self._noises, strict=True)]
        self._upsample_convs = [backend.upsample_conv(*layer) for layer in sized[1::2]]
        self._convs_to_rgb = [backend.conv_to_rgb(*layer) for layer in sized[::2]]

    def _kernel(self, index: int, weight: NormalisedWeight) -> Tensor:
        return self._backend.kernel(weight, len(self._noises[index]), up=index % 2 == 1)

    def write_constant(self, constant: Tensor) -> None:
        """Overwrite the constant input [1, C, 4, 4] in place."""
        self._constant.copy_(constant)

    def write_convolution(self, index: int, parameters: ConvParameters) -> None:
        """Overwrite a convolution's weights in place; its kernel and demodulation follow from ``weight``."""
        weight = normalise_weight(parameters.weight)
        self._kernels[index].copy_(self._kernel(index, weight))
        self._styles.write_demodulation(index, weight)
        self._styles.write_affine(index, parameters.affine, parameters.affine_bias)
        self._noises[index].copy_(parameters.noise)
        self._biases[index].copy_(parameters.bias)

    def write_rgb(self, level: int, parameters: RgbParameters) -> None:
        """Overwrite the weights of a resolution's toRGB in place."""
        self._styles.write_affine(len(self._kernels) + level, parameters.affine, parameters.affine_bias)
        self._rgb_weights[level].copy_(parameters.weight)
        self._rgb_biases[level].copy_(parameters.bias)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch: the tensors w and psi -> the tensor image."""
        layer_styles = self._compute_styles(inputs["w"], inputs["psi"])
        operands = zip(layer_styles.demodulations, self._noises, self._biases, self._clamps, strict=True)
        activations = [Activation(*layer) for layer in operands]
        x: Tensor | None = (self._constant * layer_styles.styles[0][:, :, None, None]).to(self._dtype)
        image: Tensor | None = None
        for level, conv_to_rgb in enumerate(self._convs_to_rgb):
            assert x is not None
            if level > 0:
                x = self._upsample_convs[level - 1](x, activations[2 * level - 1], layer_styles.styles[2 * level])
            following = layer_styles.styles[2 * level + 1] if level < len(self._upsample_convs) else None
            rgb = ToRgbOperands(
                weight=self._rgb_weights[level],
                style=layer_styles.rgb_styles[level],
                bias=self._rgb_biases[level],
                skip=image,
                next_style=following,
                quantised=following is None,
                clamp=self._rgb_clamps[level],
            )
            image, x = conv_to_rgb(channels_last(x), activations[2 * level], rgb)
        assert image is not None
        return {"image": image}
