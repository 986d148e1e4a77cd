"""LPIPS against its formula, and the files that it is read from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import saved
from lpips_files import CONVOLUTIONS, NetworkName, heads_state, network_state, write_lpips
from torch import Tensor
from torch.nn import functional

from engines.contract.errors import CheckpointError
from export.measures.lpips import read_lpips

TAPPED: dict[NetworkName, tuple[int, ...]] = {"vgg16": (2, 7, 14, 21, 28), "alexnet": (0, 3, 6, 8, 10)}
"""The convolutions after whose ReLU the ``lpips`` package takes features."""

networks = pytest.mark.parametrize("network", ["vgg16", "alexnet"])


def pictures(seed: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, 48, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def features_by_formula(network: NetworkName, picture: Tensor) -> list[Tensor]:
    """The five features of one picture, [C, h, w], written out with torch's functions."""
    state = network_state(network)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # LPIPS rounds ImageNet's mean and deviation in the scale of -1..1 to three digits.
    shift, scale = (2 * mean - 1).mul(1e3).round() / 1e3, (2 * deviation * 1e3).round() / 1e3
    x = (picture[None] - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
    taken = []
    for position in CONVOLUTIONS[network]:
        weight = state[f"features.{position}.weight"]
        if (network == "vgg16" and position in (5, 10, 17, 24)) or (network == "alexnet" and position in (3, 6)):
            x = functional.max_pool2d(x, 2) if network == "vgg16" else functional.max_pool2d(x, 3, 2)
        stride, padding = (4, 2) if weight.shape[-1] == 11 else (1, weight.shape[-1] // 2)
        x = functional.relu(functional.conv2d(x, weight, state[f"features.{position}.bias"], stride, padding))
        if position in TAPPED[network]:
            taken.append(x[0])
    return taken


def distance_by_formula(network: NetworkName, a: Tensor, b: Tensor) -> float:
    """Equation 1 of the paper: mean over positions of the weighted squared differences of unit features, summed."""
    total = 0.0
    levels = zip(*(features_by_formula(network, picture) for picture in (a, b)), strict=True)
    for head, (x, y) in zip(heads_state(network).values(), levels, strict=True):
        difference = x / x.square().sum(0).sqrt() - y / y.square().sum(0).sqrt()
        total += float((head.view(-1, 1, 1) * difference.square()).sum() / (x.shape[1] * x.shape[2]))
    return total


@networks
def test_the_distance_is_that_of_the_formula(tmp_path: Path, network: NetworkName) -> None:
    lpips = read_lpips(*write_lpips(tmp_path, network))
    a, b = pictures(1), pictures(2)
    expected = [distance_by_formula(network, x, y) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(lpips(a, b), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(lpips(b, a), lpips(a, b))
    assert lpips(a, a).tolist() == [0, 0]


def test_the_gradient_leads_to_a_nearer_picture_and_stays_finite_where_features_vanish(tmp_path: Path) -> None:
    lpips = read_lpips(*write_lpips(tmp_path, "alexnet"))
    target, start = pictures(1, 1), pictures(2, 1).requires_grad_()
    distance = lpips(start, target)
    (gradient,) = torch.autograd.grad(distance.sum(), start)
    assert lpips(start - 0.01 * gradient / gradient.abs().mean(), target) < distance
    with torch.no_grad():
        for layer in lpips.backbone.features:
            if isinstance(layer, torch.nn.Conv2d) and layer.bias is not None:
                layer.bias.fill_(-100.0)  # every feature is 0
    (gradient,) = torch.autograd.grad(lpips(start, target).sum(), start)
    assert gradient.isfinite().all()


def test_heads_of_the_other_network_and_other_files_are_refused(tmp_path: Path) -> None:
    vgg, vgg_heads = write_lpips(tmp_path, "vgg16")
    _, alexnet_heads = write_lpips(tmp_path, "alexnet")
    with pytest.raises(CheckpointError, match=r"\[1, 192, 1, 1\], expected \[1, 128, 1, 1\].*vgg.pth or alex.pth"):
        read_lpips(vgg, alexnet_heads)
    with pytest.raises(CheckpointError, match=r"no tensor 'features.0.weight', expected a complete VGG16 or AlexNet"):
        read_lpips(vgg_heads, vgg_heads)
    diverged = network_state("alexnet") | {"features.3.bias": torch.full((192,), torch.nan)}
    with pytest.raises(CheckpointError, match=r"NaN or infinity in 'features.3.bias'"):
        read_lpips(saved(tmp_path / "nan.pth", diverged), alexnet_heads)
