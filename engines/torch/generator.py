"""StyleGAN2's generator in PyTorch, whose styles and layers a back end computes.

Letters in shapes: N batch, L rows of W+, D width of w, C channels of the lowest resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from engines.graph.generator_weights import ExportedGeneratorWeights
from engines.graph.style_weights import style_weights
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands
from engines.kernels.weights import NormalisedWeight, normalise_weight
from engines.torch.layer_backends import LayerBackend
from engines.torch.layer_parameters import ConvParameters, RgbParameters


class TorchGenerator:
    """(w [N, L, D], psi [N, 1]) -> image, uint8 [N, R, R, 3], for any batch."""

    def __init__(self, weights: ExportedGeneratorWeights, backend: LayerBackend, device: torch.device) -> None:
        """Put the weights on ``device``, in the format of ``backend``."""
        tensor = partial(torch.tensor, device=device)
        layers, rgbs = weights.convolutions, [resolution.rgb for resolution in weights.resolutions]
        self._backend, self._dtype = backend, backend.dtype
        normalised = [normalise_weight(tensor(layer.weight)) for layer in layers]
        self._styles = backend.styles(style_weights(weights, normalised), tensor(weights.w_avg))
        self._constant = channels_last(tensor(weights.constant))  # [1, C, 4, 4]
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
        self._styles.weights.write_demodulation(index, weight.squares, weight.epsilon)
        self._styles.weights.write_affine(index, parameters.affine, parameters.affine_bias)
        self._noises[index].copy_(parameters.noise)
        self._biases[index].copy_(parameters.bias)

    def write_rgb(self, level: int, parameters: RgbParameters) -> None:
        """Overwrite the weights of a resolution's toRGB in place."""
        self._styles.weights.write_affine(len(self._kernels) + level, parameters.affine, parameters.affine_bias)
        self._rgb_weights[level].copy_(parameters.weight)
        self._rgb_biases[level].copy_(parameters.bias)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a batch: the tensors w and psi -> the tensor image."""
        layer_styles = self._styles(inputs["w"], inputs["psi"])
        operands = zip(layer_styles.demodulations, self._noises, self._biases, self._clamps, strict=True)
        activations = [Activation(*layer) for layer in operands]
        x: Tensor | None = self._first_map(layer_styles.styles[0])
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

    def _first_map(self, style: Tensor) -> Tensor:
        """The constant input times the first style, [N, C, 4, 4], rounded once, in one launch."""
        shape = (len(style), *self._constant.shape[1:])
        x = torch.empty(shape, dtype=self._dtype, device=style.device, memory_format=torch.channels_last)
        return torch.mul(self._constant, style[:, :, None, None], out=x)
