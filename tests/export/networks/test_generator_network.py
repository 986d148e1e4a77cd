"""The reference generator, compared with independent formulas in float64, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from generators import random_generator
from torch import Tensor
from torch.nn import functional

from export.networks.generator import (
    Generator,
    SynthesisLayer,
    ToRgb,
    fir_kernel,
    generator_from_weights,
    picture_from_output,
)
from export.weights import row_of

pytestmark = pytest.mark.usefixtures("no_gradients")


def codes(generator: Generator, batch: int, w_dim: int = 16) -> Tensor:
    rows = 2 * len(generator.synthesis)
    return torch.randn(batch, rows, w_dim, generator=torch.Generator().manual_seed(1))


def upsampled_by_zeros_and_fir(x: Tensor, *, before: int, after: int) -> Tensor:
    """Upsample by zero insertion, padding, and a convolution (not a correlation) with the filter, by channel."""
    zeros = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    zeros[:, :, ::2, ::2] = x
    padded = functional.pad(zeros, (before, after, before, after))
    kernel = fir_kernel().to(x).flip(0, 1).expand(x.shape[1], 1, 4, 4)
    return functional.conv2d(padded, kernel, groups=x.shape[1])


@pytest.mark.parametrize("up", [False, True])
def test_a_layer_equals_convolution_with_per_sample_modulated_weights(up: bool) -> None:
    layer = SynthesisLayer(5, 7, 16, 12, up=up).double()
    layer.noise_strength.fill_(0.3)
    layer.bias.normal_()
    size = 6 if up else 12
    x, w = torch.randn(3, 5, size, size).double(), torch.randn(3, 16).double()
    expected = []
    for sample, code in zip(x, w, strict=True):
        style = layer.affine(code[None])[0]
        weight = layer.weight / 45**0.5 * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            stretched = functional.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2)
            kernel = fir_kernel().double().expand(7, 1, 4, 4)
            y = functional.conv2d(functional.pad(stretched, (1, 1, 1, 1)), kernel, groups=7)
        else:
            y = functional.conv2d(sample[None], weight, padding=1)
        y = y + 0.3 * layer.noise + layer.bias[:, None, None]
        expected.append(functional.leaky_relu(y, 0.2) * 2**0.5)
    torch.testing.assert_close(layer(x, w), torch.cat(expected), rtol=1e-12, atol=1e-12)


def test_the_picture_is_upsampled_by_zero_insertion_and_the_fir_filter() -> None:
    rgb = ToRgb(4, 16).double()
    rgb.weight.zero_()
    skip = torch.randn(2, 3, 8, 8).double()
    out = rgb(torch.zeros(2, 4, 16, 16).double(), torch.zeros(2, 16).double(), skip)
    expected = upsampled_by_zeros_and_fir(skip, before=2, after=1)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_rows_are_shared_between_to_rgb_and_the_next_up_convolution() -> None:
    used = [row_of(r, layer) for r in (4, 8, 1024) for layer in ("up", "conv", "rgb") if (r, layer) != (4, "up")]
    assert used == [0, 1, 1, 2, 3, 15, 16, 17]


@pytest.mark.parametrize("resolution", [8, 16, 64])
def test_any_resolution_gives_its_picture(resolution: int) -> None:
    generator = generator_from_weights(random_generator(resolution))
    picture = picture_from_output(generator(codes(generator, 2), torch.ones(2, 1)))
    assert picture.shape == (2, resolution, resolution, 3)
    assert picture.dtype == torch.uint8


def test_odd_channel_schedules_are_taken_from_the_shapes() -> None:
    channels = {4: 13, 8: 9, 16: 5}
    generator = generator_from_weights(random_generator(16, channels))
    assert generator(codes(generator, 1), torch.ones(1, 1)).shape == (1, 3, 16, 16)


def test_a_batch_equals_its_singles() -> None:
    generator = generator_from_weights(random_generator(32)).double()
    w, psi = codes(generator, 3).double(), torch.tensor([[1.0], [0.5], [0.0]]).double()
    singles = [generator(w[i : i + 1], psi[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(generator(w, psi), torch.cat(singles), rtol=1e-12, atol=1e-12)


def test_psi_one_uses_the_code_bit_for_bit_and_psi_zero_the_average() -> None:
    generator = generator_from_weights(random_generator(32))
    w = codes(generator, 1)
    assert torch.equal(generator(w, torch.ones(1, 1)), generator.synthesise(w))
    average = generator.synthesise(generator.mapping.w_avg.expand_as(w))
    # w + (w_avg - w) rounds once in float32.
    torch.testing.assert_close(generator(w, torch.zeros(1, 1)), average, rtol=0, atol=1e-4)


def test_a_missing_w_avg_is_estimated_and_always_the_same() -> None:
    weights = random_generator(8)
    tensors = {name: value for name, value in weights.tensors.items() if name != "mapping.w_avg"}
    without = type(weights)(tensors, weights.source)
    first, second = (generator_from_weights(without).mapping.w_avg for _ in range(2))
    assert first.abs().max() > 0
    assert torch.equal(first, second)


def test_clamping_bounds_every_layer() -> None:
    weights = random_generator(16, conv_clamp=0.05)
    generator = generator_from_weights(weights)
    # Two resolutions above the first each upsample the clamped sum (gain at most 1 of their own) and add 0.05.
    assert generator(codes(generator, 2), torch.ones(2, 1)).abs().max() <= 3 * 0.05 + 1e-6


def test_quantisation_truncates_as_the_official_tools_do() -> None:
    x = torch.tensor([-2.0, -1.0, -128 / 127.5, 0.0, 1.0, 0.996, 5.0]).reshape(1, 1, 1, 7).expand(1, 3, 1, 7)
    expected = np.clip(x.numpy() * 127.5 + 128, 0, 255).astype(np.uint8)
    assert picture_from_output(x)[0, 0, :, 0].tolist() == expected[0, 0, 0].tolist() == [0, 0, 0, 128, 255, 254, 255]
