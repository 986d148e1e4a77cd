"""Test cases of the fused kernels, for Triton's interpreter and for a GPU, and layers that they are compiled for.

Each case measures two errors against the float64 formula, on the same operands: the kernel's, and that of the plain
half-precision PyTorch version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from unittest.mock import patch

import torch
from driver_launch import launched_by_the_driver
from torch import Tensor

from engines.graph.style_weights import StyleWeights
from engines.kernels import reference, shared_memory
from engines.kernels.ahead_of_time import CompiledKernel, compile_ahead
from engines.kernels.capabilities import CAPABILITIES
from engines.kernels.conv_rgb import conv_rgb, conv_rgb_spec
from engines.kernels.conv_sums import conv_sums, conv_sums_spec
from engines.kernels.conv_up import conv_up, conv_up_spec
from engines.kernels.excitation import excitation, excitation_spec
from engines.kernels.launch import KernelSpec
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands, ToRgbVariant
from engines.kernels.shared_memory import half_of
from engines.kernels.styles import demodulations_spec, styles_spec
from engines.kernels.tail import tail, tail_spec
from engines.kernels.to_rgb import to_rgb, to_rgb_spec
from engines.kernels.weights import modulation, normalise_weight
from engines.torch.styles import BatchedStyles, FusedStyles
from export.networks.generator import SynthesisBlock, SynthesisLayer, ToRgb

_DTYPES = (torch.float64, torch.float16)


@dataclass(frozen=True)
class Errors:
    """Errors of one output: the largest difference from float64, or for uint8 the number of differing values."""

    output: str
    kernel: float
    half: float


def errors(output: str, kernel: Tensor, exact: Tensor, half: Tensor) -> Errors:
    """Compare the kernel's and the half-precision output with the exact one; a NaN counts as an infinite error."""
    assert kernel.shape == exact.shape
    if exact.dtype == torch.uint8:
        assert (kernel.int() - exact.int()).abs().max() <= 1
        return Errors(output, float((kernel != exact).sum()), float((half != exact).sum()))
    differences = [float((y.double() - exact).abs().nan_to_num(nan=torch.inf).max()) for y in (kernel, half)]
    return Errors(output, *differences)


class RandomOperands:
    """Seeded random operands on a device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=self._generator) * scale).to(self._device)

    def map(self, *shape: int) -> Tensor:
        return channels_last(self.normal(*shape).half())

    def activation(self, batch: int, channels: int, height: int, width: int, clamp: float | None) -> Activation:
        noise, bias = self.normal(height, width, scale=0.3).half(), self.normal(channels, scale=0.3)
        return Activation(1 + self.normal(batch, channels, scale=0.2), noise, bias, clamp)

    def rgb(
        self, batch: int, channels: int, height: int, width: int, *, last: bool, clamp: float | None = None
    ) -> ToRgbOperands:
        return ToRgbOperands(
            weight=self.normal(3, channels, scale=channels**-0.5),
            style=self.normal(batch, channels),
            bias=self.normal(3, scale=0.1),
            skip=None if height % 2 else self.normal(batch, 3, height // 2, width // 2),
            next_style=None if last else self.normal(batch, channels),
            quantised=last,
            clamp=clamp,
        )


def tail_errors(
    batch: int, channels: int, height: int, width: int, device: str, *, up: bool, clamp: float | None = None
) -> Iterator[Errors]:
    """Errors of a convolution's tail; without a clamp there is no style either."""
    draw = RandomOperands(device)
    x = draw.map(batch, channels, height + up, width + up)
    activation = draw.activation(batch, channels, height, width, clamp)
    style = draw.normal(batch, channels) if clamp else None
    exact, half = (reference.tail(x.to(d), activation, style=style, up=up) for d in _DTYPES)
    yield errors("y", tail(x, activation, style=style, up=up), exact, half)


def to_rgb_errors(
    batch: int, channels: int, height: int, width: int, device: str, *, last: bool, activated: bool = False
) -> Iterator[Errors]:
    """Errors of ToRGB after a tail, or of an activated map."""
    draw = RandomOperands(device)
    x = draw.map(batch, channels, height, width)
    activation = None if activated else draw.activation(batch, channels, height, width, 1.5)
    rgb = draw.rgb(batch, channels, height, width, last=last, clamp=2.0)
    activated_maps = [x.to(d) if activation is None else reference.tail(x.to(d), activation) for d in _DTYPES]
    yield from rgb_errors(to_rgb(x, rgb, activation), *activated_maps, rgb)


def conv_rgb_errors(
    batch: int, channels_in: int, channels: int, height: int, width: int, device: str, *, last: bool
) -> Iterator[Errors]:
    """Errors of a convolution followed by its tail and ToRGB."""
    draw = RandomOperands(device)
    weight = normalise_weight(draw.normal(channels, channels_in, 3, 3))
    x = draw.map(batch, channels_in, height, width)
    activation = draw.activation(batch, channels, height, width, None)
    rgb = draw.rgb(batch, channels, height, width, last=last)
    activated = [reference.tail(reference.convolve(x.to(d), weight.half), activation) for d in _DTYPES]
    yield from rgb_errors(conv_rgb(x, weight.half, activation, rgb), *activated, rgb)


def conv_sums_errors(
    batch: int, channels_in: int, channels: int, height: int, width: int, device: str
) -> Iterator[Errors]:
    """Errors of a convolution whose taps are divided, followed by its tail and ToRGB."""
    draw = RandomOperands(device)
    weight = normalise_weight(draw.normal(channels, channels_in, 3, 3)).half
    x = draw.map(batch, channels_in, height, width)
    activation = draw.activation(batch, channels, height, width, None)
    rgb = draw.rgb(batch, channels, height, width, last=False)
    activated = [reference.tail(reference.convolve(x.to(d), weight), activation) for d in _DTYPES]
    yield from rgb_errors(to_rgb(conv_sums(x, weight), rgb, activation), *activated, rgb)


def conv_up_errors(
    batch: int, channels_in: int, channels: int, height: int, width: int, device: str, *, clamp: float | None
) -> Iterator[Errors]:
    """Errors of an up-convolution with FIR filter and tail; the float64 formula takes the unrounded weight."""
    draw = RandomOperands(device)
    weight = normalise_weight(draw.normal(channels, channels_in, 3, 3))
    x = draw.map(batch, channels_in, height // 2, width // 2)
    activation, style = draw.activation(batch, channels, height, width, clamp), draw.normal(batch, channels)
    expected = (reference.convolve(x.to(d), weight.kernel, up=True) for d in _DTYPES)
    exact, half = (reference.tail(y, activation, style=style, up=True) for y in expected)
    yield errors("y", conv_up(x, weight.half_merged, activation, style), exact, half)


def rgb_errors(
    outputs: tuple[Tensor, Tensor | None], exact: Tensor, half: Tensor, rgb: ToRgbOperands
) -> Iterator[Errors]:
    """Errors of the image and of the next layer's input, given the activated maps in float64 and in half precision."""
    image, next_map = outputs
    exact_image, half_image = reference.to_rgb(exact, rgb), reference.to_rgb(half, rgb)
    if rgb.quantised:
        exact_image, half_image = reference.picture(exact_image), reference.picture(half_image)
    yield errors("image", image, exact_image, half_image)
    assert (next_map is None) == (rgb.next_style is None)
    if next_map is not None and rgb.next_style is not None:
        style = rgb.next_style[:, :, None, None]
        yield errors("next", next_map, exact * style.double(), half * style.half())


def excitation_errors(
    batch: int, channels: int, squeezed: int, height: int, width: int, device: str
) -> Iterator[Errors]:
    """Errors of the end of a residual unit with squeeze and excitation."""
    draw = RandomOperands(device)
    x, shortcut = draw.map(batch, channels, height, width), draw.map(batch, channels, height, width)
    mean = draw.normal(batch, channels).half()
    squeeze, excite = (draw.normal(squeezed, channels, scale=size**-0.5).half() for size in (channels, squeezed))
    exact, half = (reference.excitation(x.to(d), mean, squeeze, excite, shortcut) for d in _DTYPES)
    yield errors("y", excitation(x, mean, squeeze, excite, shortcut), exact, half)


def styles_errors(
    batch: int, depth: int, style_widths: tuple[int, ...], demodulation_widths: tuple[int, ...], device: str
) -> Iterator[Errors]:
    """Errors of all layers' styles and demodulations; the first styles are the convolutions'."""
    draw = RandomOperands(device)
    layers, widest = len(style_widths), max(style_widths)
    kernels = [
        normalise_weight(draw.normal(channels, channels_in, 3, 3))
        for channels_in, channels in zip(style_widths, demodulation_widths, strict=False)
    ]
    zeros = torch.zeros(len(kernels), widest, widest, device=device)
    rows = torch.arange(layers, device=device) % 3
    affine, bias = draw.normal(layers, depth, widest, scale=depth**-0.5), 1 + draw.normal(layers, 1, widest, scale=0.2)
    for layer, width in enumerate(style_widths):
        affine[layer, :, width:] = bias[layer, :, width:] = 0
    weights = StyleWeights(rows, affine, bias, zeros, zeros[:, :1].clone(), style_widths, demodulation_widths)
    for layer, kernel in enumerate(kernels):
        weights.write_demodulation(layer, kernel.squares, kernel.epsilon)
    w_avg, w, psi = draw.normal(depth), draw.normal(batch, 3, depth), draw.normal(batch, 1).sigmoid()
    results = [FusedStyles(weights, w_avg)(w, psi)]
    for dtype in _DTYPES:
        tensors = {name: getattr(weights, name).to(dtype) for name in ("affine", "bias", "squares", "epsilon")}
        results.append(BatchedStyles(replace(weights, **tensors), w_avg.to(dtype))(w.to(dtype), psi.to(dtype)))
    for name in ("styles", "demodulations", "rgb_styles"):
        yield errors(name, *(torch.cat([y.flatten() for y in getattr(result, name)]) for result in results))


def block_errors(device: str, *, fused: bool) -> Iterator[Errors]:
    """Errors of one block of the reference network, with fused convolutions or with PyTorch's and separate passes."""
    torch.manual_seed(0)
    block = SynthesisBlock(20, 12, 16, 16).to(device).requires_grad_(False)
    for layer in (block.up, block.conv):
        layer.noise_strength.fill_(0.4)
        layer.bias.normal_()
    draw = RandomOperands(device)
    x, w, skip = draw.normal(2, 20, 8, 8), draw.normal(2, 16), draw.normal(2, 3, 8, 8)
    image = (block_fused if fused else block_with_library_convolutions)(block, x, w, skip)

    def plain(dtype: torch.dtype) -> Tensor:
        block.to(dtype)
        y = block.conv(block.up(x.to(dtype), w.to(dtype)), w.to(dtype))
        result: Tensor = block.rgb(y, w.to(dtype), skip.to(dtype))
        return result

    # float64 comes first, since a network keeps the rounding of half precision.
    exact, half = plain(torch.float64), plain(torch.float16)
    yield errors("image", image, exact, half)


def layer_operands(layer: SynthesisLayer, style: Tensor) -> tuple[Tensor, Activation]:
    """A layer's normalised style and its activation."""
    weight = normalise_weight(layer.scaled_weight())
    style, demodulation = modulation(style, weight.squares, weight.epsilon)
    gain = reference.ACTIVATION_GAIN
    noise = (layer.noise * layer.noise_strength * gain).half()
    return style, Activation(demodulation, noise, layer.bias * gain)


def rgb_operands(layer: ToRgb, w: Tensor, skip: Tensor) -> ToRgbOperands:
    """The operands of ToRGB in a network's last block."""
    return ToRgbOperands(layer.scaled_weight(), layer.affine(w), layer.bias, skip)


def block_fused(block: SynthesisBlock, x: Tensor, w: Tensor, skip: Tensor) -> Tensor:
    """The block with ``conv_up`` and ``conv_rgb``."""
    up, conv = block.up, block.conv
    style, activation = layer_operands(up, up.affine(w))
    next_style, next_activation = layer_operands(conv, conv.affine(w))
    x = channels_last((x * style[:, :, None, None]).half())
    x = conv_up(x, normalise_weight(up.scaled_weight()).half_merged, activation, next_style)
    return conv_rgb(x, normalise_weight(conv.scaled_weight()).half, next_activation, rgb_operands(block.rgb, w, skip))[
        0
    ]


def block_with_library_convolutions(block: SynthesisBlock, x: Tensor, w: Tensor, skip: Tensor) -> Tensor:
    """The block with PyTorch's convolutions, ``tail`` and ``to_rgb``."""
    up, conv = block.up, block.conv
    style, activation = layer_operands(up, up.affine(w))
    next_style, next_activation = layer_operands(conv, conv.affine(w))
    x = channels_last((x * style[:, :, None, None]).half())
    x = reference.convolve(x, normalise_weight(up.scaled_weight()).half, up=True)
    x = tail(channels_last(x), activation, style=next_style, up=True)
    x = channels_last(reference.convolve(x, normalise_weight(conv.scaled_weight()).half))
    return to_rgb(x, rgb_operands(block.rgb, w, skip), next_activation)[0]


def wide_conv_up_errors(
    batch: int, channels_in: int, channels: int, height: int, width: int, device: str
) -> Iterator[Errors]:
    """Errors of an up-convolution on a GPU whose multiprocessors have room for one block's weights."""
    with patch.object(shared_memory, "block_bytes", return_value=half_of(100 * 1024)):
        yield from conv_up_errors(batch, channels_in, channels, height, width, device, clamp=None)


CASES: dict[str, Callable[..., Iterator[Errors]]] = {
    "tail, 13 channels, 5x7": partial(tail_errors, 3, 13, 5, 7, up=False),
    "tail, 72 channels, 9x6, clamped": partial(tail_errors, 2, 72, 9, 6, up=False, clamp=0.8),
    "FIR tail, 13 channels, 6x10": partial(tail_errors, 2, 13, 6, 10, up=True),
    "FIR tail, 72 channels, 17x12, clamped": partial(tail_errors, 1, 72, 17, 12, up=True, clamp=0.8),
    "ToRGB, 100 channels, 10x14": partial(to_rgb_errors, 2, 100, 10, 14, last=False),
    "ToRGB, 13 channels, 5x7, no skip": partial(to_rgb_errors, 3, 13, 5, 7, last=False),
    "ToRGB, 24 channels, 16x6, activated": partial(to_rgb_errors, 2, 24, 16, 6, last=True, activated=True),
    "ToRGB, 32 channels, 16x20, last": partial(to_rgb_errors, 2, 32, 16, 20, last=True),
    "convolution, 40 to 20 channels, 10x18": partial(conv_rgb_errors, 2, 40, 20, 10, 18, last=False),
    "convolution, 5 to 7 channels, 7x9, no skip": partial(conv_rgb_errors, 3, 5, 7, 7, 9, last=False),
    "convolution, 32 to 32 channels, 12x16, last": partial(conv_rgb_errors, 2, 32, 32, 12, 16, last=True),
    "convolution by rows, 20 to 12 channels, 10x70": partial(conv_rgb_errors, 2, 20, 12, 10, 70, last=False),
    "divided convolution, 72 to 20 channels, 4x4": partial(conv_sums_errors, 2, 72, 20, 4, 4),
    "divided convolution, 20 to 70 channels, 8x12": partial(conv_sums_errors, 1, 20, 70, 8, 12),
    "up-convolution, 40 to 20 channels, 12x18": partial(conv_up_errors, 2, 40, 20, 12, 18, clamp=None),
    "up-convolution with kept weights, 20 to 12 channels, 18x10": partial(
        conv_up_errors, 2, 20, 12, 18, 10, clamp=None
    ),
    "up-convolution, 5 to 7 channels, 6x134, clamped": partial(conv_up_errors, 1, 5, 7, 6, 134, clamp=0.8),
    "up-convolution with kept weights, wide, 40 to 20 channels, 12x264": partial(
        wide_conv_up_errors, 1, 40, 20, 12, 264
    ),
    "excitation, 13 channels, 3 squeezed, 5x7": partial(excitation_errors, 3, 13, 3, 5, 7),
    "excitation, 512 channels, 20 squeezed, 3x4": partial(excitation_errors, 2, 512, 20, 3, 4),
    "excitation, 64 channels, 4 squeezed, 9x16": partial(excitation_errors, 1, 64, 4, 9, 16),
    "styles, 3 convolutions and 2 of ToRGB": partial(styles_errors, 3, 300, (40, 40, 21, 40, 21), (40, 21, 21)),
    "styles of one narrow layer": partial(styles_errors, 1, 5, (3, 7), (7,)),
    "a resolution, fused": partial(block_errors, fused=True),
    "a resolution, library convolutions": partial(block_errors, fused=False),
}

LARGE_CASES: dict[str, Callable[..., Iterator[Errors]]] = {
    "styles, 512 channels": partial(styles_errors, 8, 512, (512, 512, 64, 512, 64), (512, 64, 64)),
    "divided convolution, 512 channels, 4x4": partial(conv_sums_errors, 8, 512, 512, 4, 4),
    "divided convolution, 512 channels, 8x8": partial(conv_sums_errors, 2, 512, 512, 8, 8),
    "divided convolution, 512 channels, 16x16": partial(conv_sums_errors, 2, 512, 512, 16, 16),
    "excitation, 64 channels, 4 squeezed, 128x128": partial(excitation_errors, 2, 64, 4, 128, 128),
    "excitation, 256 channels, 16 squeezed, 32x32": partial(excitation_errors, 2, 256, 16, 32, 32),
    "FIR tail, 128 channels, 256x256": partial(tail_errors, 2, 128, 256, 256, up=True),
    "ToRGB, 512 channels, 64x64": partial(to_rgb_errors, 2, 512, 64, 64, last=False),
    "up-convolution, 128 to 64 channels, 512x512": partial(conv_up_errors, 2, 128, 64, 512, 512, clamp=None),
    "convolution, 64 to 64 channels, 512x512": partial(conv_rgb_errors, 2, 64, 64, 512, 512, last=False),
    "up-convolution, 64 to 32 channels, 1024x1024": partial(conv_up_errors, 2, 64, 32, 1024, 1024, clamp=None),
    "convolution, 32 to 32 channels, 1024x1024, last": partial(conv_rgb_errors, 2, 32, 32, 1024, 1024, last=True),
}
"""Layers of the usual 1024x1024 generator and encoder, for which the interpreter would take hours."""


AHEAD_OF_TIME = "from PTX: "
"""Prefix of a case's name: NVIDIA's driver launches its kernels, compiled ahead of time."""


def run_case(case: str, device: str) -> list[Errors]:
    """Run a case, and return its errors."""
    launching = launched_by_the_driver() if case.startswith(AHEAD_OF_TIME) else nullcontext()
    with launching:
        return list((CASES | LARGE_CASES)[case.removeprefix(AHEAD_OF_TIME)](device))


SPECS: dict[str, Callable[[], KernelSpec]] = {
    "styles": partial(styles_spec, 18, 512, 568),
    "demodulations": partial(demodulations_spec, 512, 696),
    "excitation of 256 channels": partial(excitation_spec, 256, 16, 32, 32),
    "excitation of 512 channels": partial(excitation_spec, 512, 32, 16, 16),
    "FIR tail at 256": partial(tail_spec, 128, 256, 256, up=True, styled=True),
    "ToRGB at 128": partial(to_rgb_spec, 256, 128, 128, ToRgbVariant(clamp=256.0, rgb_clamp=256.0)),
    "ToRGB at 256": partial(to_rgb_spec, 128, 256, 256, ToRgbVariant(clamp=256.0, rgb_clamp=256.0)),
    "divided convolution at 8": partial(conv_sums_spec, 512, 512, 8, 8),
    "divided convolution at 16": partial(conv_sums_spec, 512, 512, 16, 16),
    "ToRGB of sums at 8": partial(to_rgb_spec, 512, 8, 8, ToRgbVariant(), sums=9),
    "convolution at 512": partial(conv_rgb_spec, 64, 64, 512, 512, ToRgbVariant()),
    "up-convolution at 1024": partial(conv_up_spec, 64, 32, 1024, 1024),
    "convolution at 1024": partial(conv_rgb_spec, 32, 32, 1024, 1024, ToRgbVariant(has_next=False, quantised=True)),
}
"""Layers of the usual 1024x1024 generator and encoder, in blocks that every GPU admits."""

MULTIPROCESSOR_KIB = {80: 164, 86: 100, 89: 100, 90: 228, 100: 228, 120: 100}
"""The shared memory of a multiprocessor, by capability."""


def kept_specs(capability: int) -> dict[str, KernelSpec]:
    """The layers whose weights are kept in so much shared memory, as launches on such a GPU have them."""
    block_bytes = half_of(1024 * MULTIPROCESSOR_KIB[capability])
    specs = {
        "up-convolution at 512, kept": conv_up_spec(128, 64, 512, 512, block_bytes=block_bytes),
        "up-convolution at 1024, kept": conv_up_spec(64, 32, 1024, 1024, block_bytes=block_bytes),
        "convolution at 512, kept": conv_rgb_spec(64, 64, 512, 512, ToRgbVariant(), block_bytes),
    }
    return {name: spec for name, spec in specs.items() if spec.constants.get("KEPT", "ROWS" in spec.constants)}


JOBS = [*product(SPECS, CAPABILITIES), *((name, gpu) for gpu in MULTIPROCESSOR_KIB for name in kept_specs(gpu))]
"""Every layer for every GPU."""


def compiled(spec: str, capability: int) -> CompiledKernel:
    """Compile the kernel of one of ``JOBS`` ahead of time."""
    return compile_ahead(SPECS[spec]() if spec in SPECS else kept_specs(capability)[spec], capability)
