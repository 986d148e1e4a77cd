"""Trains the demo's ISF head on codes alone: F(w(z), noise, d) is to be w of the same face with the attributes d.

What that face is like is known, because codes are traits. How an attribute looks (frames, beard, wrinkles, teeth) comes
from the noise, so the head is multi-modal; all else stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.contract.tensors import ISF_ATTRIBUTES
from export.demo_models.training import Schedule, optimise
from export.demo_models.traits import ATTRIBUTES, CLEAR, MODES, TRAITS, Codes, edited, random_codes
from export.networks.generator import Mapping
from export.networks.isf import Isf

NOISE = 64
BATCH = 512
SCHEDULE = Schedule(steps=3000, rate=1.5e-3)
CODE_ERROR = 0.15
"""Of every row, as an encoder's: the head must work on rows that are not quite in W."""

FROM_NOISE = [*ATTRIBUTES, *MODES]
"""The traits that the first numbers of the noise stand for."""

_PASSING = {
    r"w_net\.z_net\.shared\.[369]\.weight": 3.0,
    r"w_net\.z_net\.unshared\.\d+\.[02]\.weight": 0.0,
    r"w_net\.fc\.[14]\.weight": 3.0,
    r"w_net\.fc\.7\.weight": 0.0,
}
"""Layers that start as the identity, and the biases that lift what they pass on."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def train_isf(mapping: Mapping, rows: int, schedule: Schedule, state: Path, *, seed: int) -> Isf:
    """Train a head over a frozen mapping network."""
    torch.manual_seed(seed)
    w_dim = len(mapping.w_avg)
    head = Isf(len(ISF_ATTRIBUTES), NOISE, w_dim, rows, "adaln", pre_norm=True, residual=False)
    _start(head)

    def loss(batch: Batch) -> Tensor:
        w, noise, attributes, target = batch
        edited_rows = head.edit(w, noise, attributes)
        return (edited_rows - target[:, None]).square().mean()

    optimise(head, loss, _batches(mapping, rows, seed), schedule, state, "ISF head")
    return head.eval()


def _start(head: Isf) -> None:
    """Let every layer pass on what it gets, lifted over the rectifiers' edge; the normalisations take the lift away.

    From PyTorch's own start, seven layers learn to ignore the noise, and never find back.
    """
    parameters = dict(head.named_parameters())
    width = len(parameters["w_net.fc.7.bias"])
    with torch.no_grad():
        for name, lift in _PASSING.items():
            for found in (key for key in parameters if re.fullmatch(name, key)):
                parameters[found].copy_(torch.eye(width))
                parameters[found.replace("weight", "bias")].fill_(lift)
        first = parameters["w_net.z_net.shared.0.weight"].zero_()
        used = torch.eye(first.shape[1])[[*range(len(FROM_NOISE)), *range(NOISE, first.shape[1])]]
        first[: len(used)], first[len(used) : 2 * len(used)] = used, -used


def fresh_codes(noise: Tensor | Codes) -> Codes:
    """Codes that hold the noise where an edit looks for it, [N, noise] -> [N, traits]."""
    fresh = np.zeros((len(noise), len(TRAITS)), np.float32)
    fresh[:, FROM_NOISE] = np.asarray(noise)[:, : len(FROM_NOISE)]
    fresh[:, ATTRIBUTES] = np.maximum(np.abs(fresh[:, ATTRIBUTES]), CLEAR)
    return fresh


def _batches(mapping: Mapping, rows: int, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    for index in count():
        codes = random_codes(BATCH, seed * 1_000_003 + index)
        noise = torch.from_numpy(rng.standard_normal((BATCH, NOISE)).astype(np.float32))
        attributes = rng.integers(0, 2, (BATCH, len(ISF_ATTRIBUTES))).astype(np.float32)
        target = edited(codes, attributes, fresh_codes(noise))
        with torch.no_grad():
            w, target_w = mapping(torch.from_numpy(codes)), mapping(torch.from_numpy(target))
            rows_of_w = w[:, None] + CODE_ERROR * torch.randn(BATCH, rows, w.shape[1]) * torch.rand(BATCH, 1, 1)
        yield rows_of_w, noise, torch.from_numpy(attributes), target_w
