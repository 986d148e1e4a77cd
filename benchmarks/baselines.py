"""The generator as the usual PyTorch ports of StyleGAN2 compute it: the code that a user would run instead of ours.

Every layer makes one weight for each sample, w'_oikk = s_i w_oikk / sqrt(sum_ikk (s_i w_oikk)^2 + eps) (equations 1
and 3 of Karras et al., arXiv 1912.04958), folds the batch into the groups of one convolution, and filters with a
generic ``upfirdn2d``, as those ports do where their CUDA extension is not available. All tensors are float32 in NCHW.

Letters in shapes: N batch, I and O input and output channels, k kernel size.
"""

from __future__ import annotations

import warnings
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.networks.generator import Generator, SynthesisLayer, ToRgb, fir_kernel, picture_from_output
from export.weights import row_of


def upfirdn2d(x: Tensor, fir: Tensor, *, up: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Upsample by inserting zeros between samples, pad both sides, and convolve every channel with ``fir`` [k, k]."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, 1, width, 1)
    x = functional.pad(x, (0, up - 1, 0, 0, 0, up - 1))
    x = x.reshape(batch * channels, 1, height * up, width * up)
    x = functional.conv2d(functional.pad(x, (*pad, *pad)), fir.flip(0, 1)[None, None])
    return x.reshape(batch, channels, *x.shape[2:])


class PerSampleConvolution(nn.Module):
    """A modulated convolution: one weight for each sample, and all samples as the groups of one convolution."""

    fir: Tensor

    def __init__(self, layer: SynthesisLayer | ToRgb) -> None:
        super().__init__()
        weight = layer.weight if isinstance(layer, SynthesisLayer) else layer.weight[:, :, None, None]
        self.affine = layer.affine
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)  # [O, I, k, k]
        self.up = isinstance(layer, SynthesisLayer) and layer.up
        self.demodulate = isinstance(layer, SynthesisLayer)
        self.register_buffer("fir", fir_kernel())

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, I, H, W], [N, D] -> [N, O, H or 2H, W or 2W]
        batch, channels, height, width = x.shape
        weight = self._weights(self.affine(w))
        out = weight.shape[1]
        x = x.reshape(1, batch * channels, height, width)
        if self.up:
            weight = weight.transpose(1, 2).reshape(batch * channels, out, *weight.shape[3:])
            x = functional.conv_transpose2d(x, weight, stride=2, groups=batch)
            return upfirdn2d(x.reshape(batch, out, *x.shape[2:]), self.fir, pad=(1, 1))
        weight = weight.reshape(batch * out, channels, *weight.shape[3:])
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=batch)
        return x.reshape(batch, out, height, width)

    def _weights(self, style: Tensor) -> Tensor:  # [N, I] -> [N, O, I, k, k]
        weight = self.weight / sqrt(self.weight[0].numel()) * style[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        return weight


class PortedLayer(nn.Module):
    """A modulated convolution, then noise, bias, and a leaky ReLU with its gain."""

    noise: Tensor

    def __init__(self, layer: SynthesisLayer) -> None:
        super().__init__()
        self.convolution = PerSampleConvolution(layer)
        self.bias, self.noise_strength = layer.bias, layer.noise_strength
        self.register_buffer("noise", layer.noise)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.convolution(x, w)
        x = x + self.noise_strength * self.noise
        return functional.leaky_relu(x + self.bias[:, None, None], 0.2) * sqrt(2)


class PortedToRgb(nn.Module):
    """A modulated 1x1 convolution and a bias; the result is added to the upsampled picture of the resolution below."""

    fir: Tensor

    def __init__(self, layer: ToRgb) -> None:
        super().__init__()
        self.convolution = PerSampleConvolution(layer)
        self.bias = layer.bias
        self.register_buffer("fir", fir_kernel())

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:
        rgb: Tensor = self.convolution(x, w) + self.bias[:, None, None]
        return rgb if skip is None else rgb + upfirdn2d(skip, self.fir, up=2, pad=(2, 1))


class PortedGenerator(nn.Module):
    """The weights of our reference generator in the ports' arithmetic, with the inputs and the output of an engine."""

    const: Tensor
    w_avg: Tensor

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        blocks = dict(generator.blocks)
        self.register_buffer("const", blocks[4].const.detach())
        self.register_buffer("w_avg", generator.mapping.w_avg)
        self.layers = nn.ModuleDict()
        for resolution, block in blocks.items():
            for name, layer in block.named_children():
                ported = PortedToRgb(layer) if isinstance(layer, ToRgb) else PortedLayer(_synthesis(layer))
                self.layers[f"{resolution}_{name}"] = ported

    def forward(self, w: Tensor, psi: Tensor) -> Tensor:  # [N, L, D], [N, 1] -> uint8 [N, R, R, 3]
        w = self.w_avg + psi[:, :, None] * (w - self.w_avg)
        x = self.const[None].repeat(w.shape[0], 1, 1, 1)
        image: Tensor | None = None
        for key, layer in self.layers.items():
            resolution, name = key.split("_")
            row = w[:, row_of(int(resolution), name)]
            if name == "rgb":
                image = layer(x, row, image)
            else:
                x = layer(x, row)
        assert image is not None
        return picture_from_output(image)


def _synthesis(layer: nn.Module) -> SynthesisLayer:
    assert isinstance(layer, SynthesisLayer)
    return layer


def export_port(generator: Generator, batch: int, path: Path) -> None:
    """Export the port to ONNX as its users do: from the module and an example input, with a static batch size."""
    rows, w_dim = generator.rows, len(generator.mapping.w_avg)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecated calls
        torch.onnx.export(
            PortedGenerator(generator).eval(),
            (torch.zeros(batch, rows, w_dim), torch.ones(batch, 1)),
            path,
            dynamo=True,
            input_names=["w", "psi"],
            output_names=["image"],
            external_data=False,
            verbose=False,
        )
