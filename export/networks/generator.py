"""The reference: StyleGAN2's generator with skip connections (Karras et al., arXiv 1912.04958), for inference.

A modulated convolution is computed in three steps: scale the input by the style, convolve with the shared weight, scale
the output by the demodulation. This equals StyleGAN2's per-sample weights (its equations 1 and 3), since the style
depends only on the input channel and the demodulation only on the output channel; the samples of a batch share one
weight.

Letters in shapes: N batch, L rows of W+, D width of w, I and O input and output channels, H and W input height and
width, R resolution. Parameters keep the names and raw values that ``export.weights`` documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.errors import ExportError
from export.weights import GeneratorWeights, row_of

DEMODULATION_EPSILON = 1e-8
ACTIVATION_GAIN = sqrt(2)
LEAKY_SLOPE = 0.2
MAPPING_RATE = 0.01
NORMALISATION_EPSILON = 1e-8
W_AVG_SAMPLES = 4096


def fir_kernel() -> Tensor:
    """Return the low-pass filter [1,3,3,1] x [1,3,3,1] with the gain 4 of upsampling by 2, [4, 4]."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 16


class Affine(nn.Module):
    """The linear map from w to a style, with equalised learning rate."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, w_dim))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, w: Tensor) -> Tensor:  # [N, D] -> [N, I]
        return functional.linear(w, self.scaled_weight(), self.bias)

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gain of the equalised learning rate, [I, D]."""
        return self.weight / sqrt(self.weight.shape[1])


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution with demodulation, noise, bias and leaky ReLU; ``up`` doubles the size."""

    fir: Tensor
    noise: Tensor

    def __init__(self, channels_in: int, channels_out: int, w_dim: int, size: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.clamp: float | None = None
        self.affine = Affine(w_dim, channels_in)
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size, size))
        self.register_buffer("fir", fir_kernel(), persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, I, H, W], [N, D] -> [N, O, H or 2H, W or 2W]
        style = self.affine(w)  # [N, I]
        weight = self.scaled_weight()  # [O, I, 3, 3]
        demodulation = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + DEMODULATION_EPSILON)  # [N, O]
        x = x * style[:, :, None, None]
        x = convolve_up(x, weight, self.fir) if self.up else functional.conv2d(x, weight, padding=1)
        x = x * demodulation[:, :, None, None] + self.noise * self.noise_strength + self.bias[:, None, None]
        x = functional.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN
        return clamped(x, self.clamp)

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gain of the equalised learning rate, [O, I, 3, 3]."""
        return self.weight / sqrt(self.weight[0].numel())


class ToRgb(nn.Module):
    """A modulated 1x1 convolution without demodulation, added to the upsampled sum of the resolutions below."""

    fir: Tensor

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__()
        self.clamp: float | None = None
        self.affine = Affine(w_dim, channels)
        self.weight = nn.Parameter(torch.randn(3, channels))
        self.bias = nn.Parameter(torch.zeros(3))
        self.register_buffer("fir", fir_kernel().expand(3, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:  # -> [N, 3, H, W]
        x = x * self.affine(w)[:, :, None, None]
        rgb = functional.conv2d(x, self.scaled_weight()[:, :, None, None]) + self.bias[:, None, None]
        rgb = clamped(rgb, self.clamp)
        if skip is None:
            return rgb
        # Zero insertion and the FIR filter in one operation; bilinear resizing differs from it at the border.
        return functional.conv_transpose2d(skip, self.fir, stride=2, padding=1, groups=3) + rgb

    def scaled_weight(self) -> Tensor:
        """Return the weight with the gain of the equalised learning rate, [3, I]."""
        return self.weight / sqrt(self.weight.shape[1])


def convolve_up(x: Tensor, weight: Tensor, fir: Tensor) -> Tensor:
    """Apply a transposed convolution with stride 2, then the FIR filter: [N, I, H, W] -> [N, O, 2H, 2W]."""
    x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, O, 2H + 1, 2W + 1]
    return functional.conv2d(x, fir.expand(x.shape[1], 1, 4, 4), padding=1, groups=x.shape[1])


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """Clamp to +-bound, as networks trained with conv_clamp require; None does not clamp."""
    return x if bound is None else x.clamp(-bound, bound)


class SynthesisBlock(nn.Module):
    """The layers of one resolution."""

    const: nn.Parameter

    def __init__(self, channels_in: int, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(channels, 4, 4))
        else:
            self.up: nn.Module = SynthesisLayer(channels_in, channels, w_dim, resolution, up=True)
        self.conv: nn.Module = SynthesisLayer(channels, channels, w_dim, resolution, up=False)
        self.rgb: nn.Module = ToRgb(channels, w_dim)


class Mapping(nn.Module):
    """The mapping network z -> w: a normalised z through fully connected layers with equalised learning rate."""

    w_avg: Tensor

    def __init__(self, z_dim: int, w_dim: int, depth: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        for index in range(depth):
            linear = nn.Linear(z_dim if index == 0 else w_dim, w_dim)
            nn.init.normal_(linear.weight, std=1 / MAPPING_RATE)
            nn.init.zeros_(linear.bias)
            self.add_module(str(index), linear)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor) -> Tensor:  # [N, Z] -> [N, D]
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + NORMALISATION_EPSILON)
        for linear in self.children():
            assert isinstance(linear, nn.Linear)
            weight = linear.weight * (MAPPING_RATE / sqrt(x.shape[1]))
            x = functional.linear(x, weight, linear.bias * MAPPING_RATE)
            x = functional.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN
        return x


class StyleGenerator(nn.Module):
    """A generator of any architecture: W+ -> picture, with its mapping network and the truncation of its codes.

    ``truncated_rows`` is the number of rows, counted from the first, that the truncation changes; None means all.
    """

    truncated_rows: int | None = None
    synthesis: nn.ModuleDict

    def __init__(self, mapping: Mapping) -> None:
        super().__init__()
        self.mapping = mapping

    def forward(self, w: Tensor, psi: Tensor) -> Tensor:
        """Truncate and synthesise.

        Args:
            w: W+ codes [N, L, D].
            psi: truncation towards w_avg [N, 1]; with 1 there is none, and ``w`` is used bit for bit.

        Returns:
            RGB pictures [N, 3, R, R], nominally in -1..1 but not clamped.
        """
        w_avg: Tensor = self.mapping.w_avg
        truncated = w + (1 - psi[:, :, None]) * (w_avg - w)
        if self.truncated_rows is not None:
            truncated = torch.cat([truncated[:, : self.truncated_rows], w[:, self.truncated_rows :]], 1)
        return self.synthesise(truncated)

    @property
    def rows(self) -> int:
        """Number of rows of W+ that the layers read."""
        return 2 * len(self.synthesis)

    def synthesise(self, w: Tensor) -> Tensor:  # [N, L, D] -> [N, 3, R, R]
        raise NotImplementedError


class Generator(StyleGenerator):
    """StyleGAN2's generator; ``channels`` maps each resolution 4, 8, ..., R to its number of channels."""

    def __init__(self, channels: dict[int, int], w_dim: int, *, z_dim: int = 0, mapping_depth: int = 0) -> None:
        super().__init__(Mapping(z_dim or w_dim, w_dim, mapping_depth))
        self.synthesis = nn.ModuleDict(
            {str(r): SynthesisBlock(channels.get(r // 2, 0), width, w_dim, r) for r, width in sorted(channels.items())}
        )

    @property
    def blocks(self) -> Iterable[tuple[int, SynthesisBlock]]:
        """Pairs of resolution and block, lowest resolution first."""
        for name, block in self.synthesis.items():
            assert isinstance(block, SynthesisBlock)
            yield int(name), block

    def synthesise(self, w: Tensor) -> Tensor:
        rows = w.unbind(1)
        image: Tensor | None = None
        x: Tensor = next(iter(self.blocks))[1].const[None]  # [1, C, 4, 4]; the first style broadcasts it to N
        for resolution, block in self.blocks:
            if resolution > 4:
                x = block.up(x, rows[row_of(resolution, "up")])
            x = block.conv(x, rows[row_of(resolution, "conv")])
            image = block.rgb(x, rows[row_of(resolution, "rgb")], image)
        assert image is not None
        return image


def picture_from_output(image: Tensor) -> Tensor:
    """Convert [N, 3, R, R] in -1..1 to uint8 [N, R, R, 3] as NVIDIA's tools do: trunc(clamp(127.5 x + 128, 0, 255))."""
    return (image * 127.5 + 128).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def generator_from_weights(weights: GeneratorWeights) -> Generator:
    """Build a StyleGAN2 generator; see ``load_weights``. ``network_from_weights`` builds one of any architecture.

    Raises:
        ExportError: the weights are those of another architecture.
    """
    if weights.architecture != "StyleGAN2":
        raise ExportError(
            str(weights.source.path),
            got=f"a {weights.architecture} generator",
            expected="a StyleGAN2 generator, the only one for which this is made",
            remedy="give a StyleGAN2 checkpoint",
        )
    generator = Generator(weights.channels, weights.w_dim, z_dim=weights.z_dim, mapping_depth=weights.mapping_depth)
    load_weights(generator, weights)
    for _, block in generator.blocks:
        for layer in block.children():
            if isinstance(layer, SynthesisLayer | ToRgb):
                layer.clamp = weights.conv_clamp
    return generator


def load_weights(generator: StyleGenerator, weights: GeneratorWeights) -> None:
    """Load the raw weights for inference; a missing w_avg is estimated from 4096 seeded z."""
    tensors = {name: torch.from_numpy(value) for name, value in weights.tensors.items()}
    estimate = "mapping.w_avg" not in tensors
    tensors.setdefault("mapping.w_avg", generator.mapping.w_avg)
    generator.load_state_dict(tensors)
    generator.eval().requires_grad_(False)
    if estimate and weights.mapping_depth:
        generator.mapping.w_avg.copy_(estimated_w_avg(generator.mapping, weights.z_dim))


def estimated_w_avg(mapping: Mapping, z_dim: int) -> Tensor:
    """Return the mean w of 4096 z drawn with a fixed seed, [D]."""
    z = torch.randn(W_AVG_SAMPLES, z_dim, generator=torch.Generator().manual_seed(0))
    mean: Tensor = mapping(z).mean(0)
    return mean
