"""Small ISF heads for tests."""

from __future__ import annotations

import torch

from export.networks.isf import Isf, Norm

WIDTH, NOISE, ATTRIBUTES = 24, 6, ("gender", "age")


def head(norm: Norm = "adaln", *, pre_norm: bool = True, heads: int = 8, residual: bool = False) -> Isf:
    """A head with seeded weights."""
    torch.manual_seed(0)
    return Isf(len(ATTRIBUTES), NOISE, WIDTH, heads, norm, pre_norm=pre_norm, residual=residual).eval()
