"""The ISF head w' = F(w, z, d) (Liu et al., "ISF-GAN", arXiv 2109.12492), as its published code computes it.

An MLP maps the noise z and the target attributes d to one condition per row of W+; adaptive layer normalisation applies
it to each row of w; a second MLP, shared by the rows, gives the edited row. Rows do not influence each other. The
normalisation discards a row's mean and length, so the head's output is a code, not an offset.

Letters in shapes: N batch, L rows of W+, D width of w, A attributes, Z noise. Names are those of the checkpoints.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from export.weights import IsfWeights

Norm = Literal["adaln", "adain", "none"]


class ConditionNetwork(nn.Module):
    """The map (z, d) -> one condition per head: a shared MLP, then an MLP per row (a single one for heads on W)."""

    def __init__(self, inputs: int, width: int, heads: int, *, pre_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
        for _ in range(3):
            linear, activation, norm = nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width)
            layers += [norm, linear, activation] if pre_norm else [linear, activation, norm]
        self.shared = nn.Sequential(*layers)
        self.unshared = nn.ModuleList(_head(width) for _ in range(heads))

    def forward(self, z: Tensor, attributes: Tensor) -> Tensor:  # [N, Z], [N, A] -> [N, heads, D]
        hidden = self.shared(torch.cat([z, attributes], 1))
        return torch.stack([head(hidden) for head in self.unshared], 1)


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
    )


class AdaptiveNorm(nn.Module):
    """The map w -> (1 + gamma) * norm(w) + beta per row; norm has its own gain and bias in "adaln", not in "adain"."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=norm == "adaln")
        self.fc = nn.Linear(width, 2 * width)

    def forward(self, w: Tensor, condition: Tensor) -> Tensor:
        gamma, beta = self.fc(condition).chunk(2, dim=-1)
        out: Tensor = (1 + gamma) * self.norm(w) + beta
        return out


class StyleNetwork(nn.Module):
    """The map (w, z, d) -> w', without the residual connection."""

    def __init__(self, inputs: int, width: int, heads: int, norm: Norm, *, pre_norm: bool) -> None:
        super().__init__()
        self.z_net: nn.Module = ConditionNetwork(inputs, width, heads, pre_norm=pre_norm)
        self.adain = None if norm == "none" else AdaptiveNorm(width, norm)
        layers: list[nn.Module] = [nn.LayerNorm(width)] if pre_norm else []
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width)]
        self.fc = nn.Sequential(*layers, nn.Linear(width, width))

    def forward(self, w: Tensor, z: Tensor, attributes: Tensor) -> Tensor:
        condition = self.z_net(z, attributes)
        modulated = w + condition if self.adain is None else self.adain(w, condition)
        out: Tensor = self.fc(modulated)
        return out


class Isf(nn.Module):
    """The head, with a strength per row between no edit and the full edit."""

    def __init__(
        self, attributes: int, noise: int, width: int, heads: int, norm: Norm, *, pre_norm: bool, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.w_net = StyleNetwork(noise + attributes, width, heads, norm, pre_norm=pre_norm)

    def forward(self, w: Tensor, attributes: Tensor, z: Tensor, row_strength: Tensor) -> Tensor:
        """Compute w + row_strength * (F(w, z, d) - w).

        Args:
            w: W+ codes [N, L, D].
            attributes: the full target vector [N, A], 0 or 1.
            z: standard normal noise [N, Z]; one z for all rows.
            row_strength: [N, L]; 0 keeps a row bit for bit.

        Returns:
            Edited W+ codes [N, L, D].
        """
        return w + row_strength[:, :, None] * (self.edit(w, z, attributes) - w)

    def edit(self, w: Tensor, z: Tensor, attributes: Tensor) -> Tensor:
        """Compute F(w, z, d) for every row, [N, L, D]."""
        edited: Tensor = self.w_net(w, z, attributes)
        return edited + w if self.residual else edited


def isf_from_weights(weights: IsfWeights) -> Isf:
    """Build an ISF head of the form that the tensors have, and load the tensors."""
    isf = Isf(
        len(weights.attributes),
        weights.noise_size,
        weights.w_dim,
        weights.rows,
        weights.norm,
        pre_norm=weights.pre_norm,
        residual=weights.residual,
    )
    isf.load_state_dict({name: torch.from_numpy(value) for name, value in weights.tensors.items()})
    isf.eval().requires_grad_(False)
    return isf
