"""Inception v3: its layout, its blocks against their definition, and the files that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import saved
from torch import Tensor
from torch.nn import functional

from engines.contract.errors import CheckpointError
from export.measures.inception import Inception, read_inception

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights in the published layout, with the layers and counters that FID does not use."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in Inception().state_dict().items():
        if value.ndim == 4:
            scale = (2 / value[0].numel()) ** 0.5
            state[name] = torch.empty(value.shape).uniform_(-scale, scale, generator=generator)
        elif not name.endswith("num_batches_tracked"):
            low = -0.1 if name.endswith(("bias", "mean")) else 0.5
            state[name] = torch.empty(value.shape).uniform_(low, low + 1, generator=generator)
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def unit(state: dict[str, Tensor], name: str, x: Tensor, *, stride: int = 1, same: bool = True) -> Tensor:
    """A convolution with batch normalisation and ReLU, written out."""
    weight = state[f"{name}.conv.weight"]
    padding = (weight.shape[2] // 2, weight.shape[3] // 2) if same else 0
    x = functional.conv2d(x, weight, stride=stride, padding=padding)
    mean, variance, gain, bias = (
        state[f"{name}.bn.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 0.001).sqrt() * gain + bias).relu()


def test_the_features_are_those_of_the_published_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    inception = read_inception(saved(tmp_path / "inception.pth", state))
    x = torch.rand(1, 192, 9, 9, generator=torch.Generator().manual_seed(1))
    block = inception.get_submodule("Mixed_5b")
    # TensorFlow's mean does not count the padding.
    pooled = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 1)
    counted = functional.avg_pool2d(functional.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 1)

    def chain(x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = unit(state, f"Mixed_5b.{name}", x)
        return x

    expected = [
        chain(x, "branch1x1"),
        chain(x, "branch5x5_1", "branch5x5_2"),
        chain(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        chain(pooled / counted, "branch_pool"),
    ]
    torch.testing.assert_close(block(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-5)
    x = torch.rand(1, 2048, 3, 3, generator=torch.Generator().manual_seed(2))
    wide = unit(state, "Mixed_7c.branch3x3_1", x)
    split = [unit(state, f"Mixed_7c.branch3x3_2{side}", wide) for side in "ab"]
    pooled = unit(state, "Mixed_7c.branch_pool", functional.max_pool2d(x, 3, 1, 1))
    output = inception.get_submodule("Mixed_7c")(x)
    torch.testing.assert_close(output[:, 320:1088], torch.cat(split, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output[:, -192:], pooled, rtol=1e-4, atol=1e-5)
    assert inception(torch.zeros(1, 3, 75, 75)).shape == (1, 2048)


def test_pictures_are_resized_and_centred_as_tensorflow_did(monkeypatch: pytest.MonkeyPatch) -> None:
    inception = Inception()
    monkeypatch.setattr(inception, "forward", lambda x: x.mean((2, 3)) if x.shape[2:] == (299, 299) else None)
    levels = np.uint8([0, 128, 255])[None, None, None].repeat(40, 1).repeat(50, 2)
    np.testing.assert_allclose(inception.features(levels), [[-1, 0, 127 / 128]], atol=1e-5)


def test_other_networks_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    small = {name: value for name, value in state.items() if not name.startswith("Mixed_7c")}
    with pytest.raises(CheckpointError, match=r"no tensor 'Mixed_7c.*expected a complete Inception v3"):
        read_inception(saved(tmp_path / "part.pth", small))
    with pytest.raises(CheckpointError, match=r"for 1000 classes, expected that of FID.*pt_inception"):
        read_inception(saved(tmp_path / "torchvision.pth", state | {"fc.bias": torch.zeros(1000)}))
