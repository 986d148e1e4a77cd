"""The projector: gradient descent on a code in W+, until it no longer improves.

It follows Image2StyleGAN (Abdal et al., arXiv 1904.03189), with what StyleGAN2's projector (Karras et al., arXiv
1912.04958, appendix D) does from the average code: noise on the code that fades out, so that the search begins wide.
The generator's noise maps stay as they are, since a served model has no others: the code alone must give the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from export.networks.generator import Mapping, StyleGenerator
from export.projection.objective import Objective

RATE = 0.05
"""Adam's learning rate, in standard deviations of w."""

PATIENCE, IMPROVEMENT, HALVINGS = 20, 0.01, 3
"""The rate is halved after so many steps without an improvement by this fraction, so often before the end."""

EXPLORED = 0.25
"""Fraction of the steps in which a search from the average code explores."""

W_SAMPLES = 4096
"""Number of random w from which their standard deviation is estimated."""


@dataclass(frozen=True)
class Search:
    """How a search begins and when it ends.

    Attributes:
        start: the code at which it begins, float32 [1, L, D].
        spread: the standard deviation of w, the unit of its steps.
        steps: the largest number of steps.
        explores: whether noise is added to the code at first, as is useful far from the goal.
        seed: the seed of that noise.
    """

    start: Tensor
    spread: float
    steps: int
    explores: bool = False
    seed: int = 0

    def noise(self, step: int) -> Tensor | float:
        """Return the noise on all rows of the code in a step, [D]; 0 after the exploration."""
        if not self.exploring(step):
            return 0.0
        fading = (1 - step / (EXPLORED * self.steps)) ** 2
        drawn = np.random.default_rng([self.seed, step]).standard_normal(self.start.shape[-1], np.float32)
        return self.spread * fading * torch.from_numpy(drawn).to(self.start.device)

    def exploring(self, step: int) -> bool:
        """Return whether there is noise in a step."""
        return self.explores and step < EXPLORED * self.steps


class Projector:
    """A search whose steps are taken one by one.

    Attributes:
        step: number of steps that were taken.
        w: the code, [1, L, D].
        best: the code with the least distance so far, without noise.
    """

    def __init__(self, generator: StyleGenerator, objective: Objective, search: Search) -> None:
        self._generator, self._objective, self.search = generator, objective, search
        self.step = 0
        self.w = search.start.clone().requires_grad_()
        self.best, self.best_distance = search.start, float("inf")
        self.optimizer = torch.optim.Adam([self.w], RATE * search.spread)
        self.plateau = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=PATIENCE, threshold=IMPROVEMENT)

    @property
    def done(self) -> bool:
        """True if there are no steps left, or the code no longer improves."""
        least = RATE * self.search.spread * 0.5**HALVINGS
        return self.step >= self.search.steps or self.optimizer.param_groups[0]["lr"] <= least

    def advance(self) -> None:
        """Take one step."""
        distance = self._objective(self._generator.synthesise(self.w + self.search.noise(self.step)))
        if not self.search.exploring(self.step):
            if distance.item() < self.best_distance:
                self.best, self.best_distance = self.w.detach().clone(), distance.item()
            self.plateau.step(distance.item())
        self.optimizer.zero_grad()
        distance.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        self.optimizer.step()
        self.step += 1

    def psnr(self) -> float:
        """Return the PSNR in dB of the best code's picture, at the size of a face."""
        with torch.no_grad():
            return self._objective.psnr(self._generator.synthesise(self.best))


def spread_of_w(mapping: Mapping) -> float | None:
    """Return the standard deviation of random w around their mean; None without a mapping network."""
    if not any(True for _ in mapping.children()):
        return None
    z = torch.randn(W_SAMPLES, mapping.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w = mapping(z.to(mapping.w_avg.device))
    return float((w - w.mean(0)).square().mean().sqrt())
