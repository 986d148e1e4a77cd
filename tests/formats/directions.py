"""Rows of linear directions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from checkpoint_files import saved
from torch import Tensor

from export.checkpoints.directions import DirectionPlace, read_directions
from export.networks.directions import Directions
from tests.formats.differences import FORMULA, Compare, Difference, Row, of_codes

ROWS_OF_CODES, WIDTH = 8, 16

_RNG = np.random.default_rng(0)
IN_W, IN_W_PLUS = _RNG.standard_normal((1, WIDTH)), _RNG.standard_normal((1, ROWS_OF_CODES, WIDTH))
COMPONENTS, DEVIATIONS = _RNG.standard_normal((3, 1, WIDTH)), _RNG.uniform(1, 2, 3)


def _directions(write: Callable[[Path], str], expected: np.ndarray) -> Compare:
    """Compare codes that were moved by 1.5 times the direction of a file, in float64."""

    def compare(folder: Path) -> Difference:
        place = DirectionPlace.parsed(str(folder / write(folder)))
        network = Directions(torch.from_numpy(read_directions([place], (), 32).directions))
        w = torch.randn(2, ROWS_OF_CODES, WIDTH, generator=torch.Generator().manual_seed(0))
        got: Tensor = network(w, torch.full((2, 1), 1.5), torch.ones(2, ROWS_OF_CODES))
        return of_codes(got, w.double() + 1.5 * torch.from_numpy(expected))

    return compare


def _boundary(folder: Path) -> str:
    np.save(folder / "boundary.npy", IN_W)
    return "boundary.npy"


def _tensor(folder: Path) -> str:
    saved(folder / "pose.pt", torch.from_numpy(IN_W_PLUS).float())
    return "pose.pt"


def _ganspace(folder: Path) -> str:
    content = {"comp": torch.from_numpy(COMPONENTS).float(), "std": torch.from_numpy(DEVIATIONS).float()}
    saved(folder / "ffhq_pca.pt", content)
    return "ffhq_pca.pt#1"


ROWS = (
    Row("InterFaceGAN", "`boundary.npy` in W", FORMULA, _directions(_boundary, IN_W)),
    Row("e4e, StyleCLIP", "direction in W+", FORMULA, _directions(_tensor, IN_W_PLUS)),
    Row("GANSpace", "component of `ffhq_pca.pt`", FORMULA, _directions(_ganspace, COMPONENTS[1] * DEVIATIONS[1])),
)
"""Formats of linear directions."""
