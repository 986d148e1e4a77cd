"""The ISF head in all its published variants, and the properties that follow from its form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from isf_heads import ATTRIBUTES, NOISE, WIDTH, head
from torch import Tensor

from export.networks.isf import Norm, isf_from_weights
from export.weights import IsfWeights, Source

pytestmark = pytest.mark.usefixtures("no_gradients")


def inputs(batch: int = 3, rows: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    attributes = torch.randint(0, 2, (batch, len(ATTRIBUTES)), generator=rng).float()
    return torch.randn(batch, rows, WIDTH, generator=rng), torch.randn(batch, NOISE, generator=rng), attributes


@pytest.mark.parametrize("norm", ["adaln", "adain", "none"])
@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("heads", [8, 1])
def test_every_variant_is_rebuilt_from_the_shapes_of_its_tensors(norm: Norm, pre_norm: bool, heads: int) -> None:
    original = head(norm, pre_norm=pre_norm, heads=heads)
    tensors = {name: value.numpy() for name, value in original.state_dict().items()}
    weights = IsfWeights(tensors, Source(Path("head.ckpt"), "isf", ""), ATTRIBUTES)
    assert (weights.norm, weights.pre_norm, weights.rows, weights.noise_size) == (norm, pre_norm, heads, NOISE)
    assert torch.equal(isf_from_weights(weights).edit(*inputs()), original.edit(*inputs()))


def test_rows_do_not_see_each_other() -> None:
    isf, (w, z, d) = head(), inputs()
    changed = w.clone()
    changed[:, 5] += 1
    difference = (isf.edit(changed, z, d) - isf.edit(w, z, d)).abs().amax((0, 2))
    assert difference[5] > 0
    assert difference[[0, 1, 2, 3, 4, 6, 7]].max() == 0


def test_a_rows_mean_and_length_do_not_matter() -> None:
    isf, (w, z, d) = head(), inputs()
    # Only LayerNorm's epsilon of 1e-5 sees the scale.
    torch.testing.assert_close(isf.edit(3 * w + 0.5, z, d), isf.edit(w, z, d), rtol=0, atol=1e-4)


def test_equal_rows_become_different_ones() -> None:
    w, z, d = inputs()
    edited = head().edit(w[:, :1].expand_as(w), z, d)
    assert (edited[:, 0] - edited[:, 1]).abs().max() > 1e-3


def test_strength_zero_leaves_rows_bit_for_bit_and_one_edits_them() -> None:
    isf, (w, z, d) = head(), inputs()
    strength = torch.zeros(3, 8)
    strength[:, 2] = 1
    edited = isf(w, d, z, strength)
    assert torch.equal(edited[:, [0, 1, 3, 4, 5, 6, 7]], w[:, [0, 1, 3, 4, 5, 6, 7]])
    torch.testing.assert_close(edited[:, 2], isf.edit(w, z, d)[:, 2], rtol=0, atol=1e-6)


def test_the_residual_form_adds_the_code() -> None:
    w, z, d = inputs()
    torch.testing.assert_close(head(residual=True).edit(w, z, d), head().edit(w, z, d) + w, rtol=0, atol=1e-6)


def test_adain_is_adaln_with_a_plain_norm() -> None:
    adaln, adain = head("adaln"), head("adain")
    state = {name: value for name, value in adaln.state_dict().items() if "adain.norm" not in name}
    adain.load_state_dict(state)
    # A fresh LayerNorm has gain 1 and bias 0.
    torch.testing.assert_close(adain.edit(*inputs()), adaln.edit(*inputs()), rtol=0, atol=1e-6)
    assert np.isfinite(adain.edit(torch.zeros_like(inputs()[0]), *inputs()[1:]).numpy()).all()
