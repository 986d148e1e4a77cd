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
from torch.nn import functional

from engines.generator_weights import Affine, GeneratorWeights
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import Rgb
from engines.kernels.weights import ConvolutionWeight, convolution_weight, modulation
from engines.torch_passes import Passes


@dataclass(frozen=True)
class _Scales:
    """What codes make of the weights: for each convolution float32 [N, I] and [N, O], for each ToRGB [N, I]."""

    styles: tuple[Tensor, ...]
    demodulations: tuple[Tensor, ...]
    rgb_styles: tuple[Tensor, ...]


class _Styles:
    """(w, psi) -> scales, in float32; the layers are padded with zeros to the widest."""

    def __init__(self, w_avg: Tensor, affines: Sequence[Affine], weights: Sequence[ConvolutionWeight]) -> None:
        """``affines`` are those of the convolutions, whose ``weights`` are given, and then those of ToRGB."""
        self._w_avg = w_avg
        self._widths = [len(affine.bias) for affine in affines]
        self._widths_out = [len(weight.epsilon) for weight in weights]
        widest, device = max(self._widths), w_avg.device
        self._rows = torch.tensor([affine.row for affine in affines], device=device)  # [A]
        self._weight = _stacked([torch.tensor(affine.weight.T, device=device) for affine in affines], widest)
        self._bias = _stacked([torch.tensor(affine.bias[None], device=device) for affine in affines], widest)
        squares = [functional.pad(weight.squares, (0, 0, 0, widest - len(weight.squares))) for weight in weights]
        self._squares = _stacked(squares, widest)  # [K, C, C]
        self._epsilon = _stacked([weight.epsilon[None] for weight in weights], widest)  # [K, 1, C]

    def __call__(self, w: Tensor, psi: Tensor) -> _Scales:  # [N, L, D], [N, 1]
        w = w + (1 - psi[:, :, None]) * (self._w_avg - w)
        rows = w.index_select(1, self._rows).transpose(0, 1)  # [A, N, D]
        styles, rgb_styles = torch.baddbmm(self._bias, rows, self._weight).tensor_split([len(self._epsilon)])
        styles, demodulations = modulation(styles, self._squares, self._epsilon)  # [K, N, C] each
        count = len(styles)
        return _Scales(
            _unpadded(styles, self._widths[:count]),
            _unpadded(demodulations, self._widths_out),
            _unpadded(rgb_styles, self._widths[count:]),
        )


def _stacked(tensors: Sequence[Tensor], width: int) -> Tensor:
    return torch.stack([functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in tensors])


def _unpadded(layers: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(layer[:, :width].contiguous() for layer, width in zip(layers, widths, strict=True))


class TorchGenerator:
    """(w, psi) -> image, uint8 [N, R, R, 3]; any batch."""

    def __init__(self, weights: GeneratorWeights, passes: Passes, device: torch.device) -> None:
        """Put the weights on ``device``, in the form that ``passes`` takes them."""
        resolutions = weights.resolutions
        self._tensor = partial(torch.tensor, device=device)
        # In the order of W+'s rows: the lowest resolution's convolution, then the two of each further one.
        layers = [layer for resolution in resolutions for layer in (resolution.up, resolution.conv) if layer]
        kernels = [convolution_weight(self._tensor(layer.weight)) for layer in layers]
        affines = [layer.affine for layer in layers] + [resolution.rgb.affine for resolution in resolutions]
        self._styles = _Styles(self._tensor(weights.w_avg), affines, kernels)
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
