"""Training of the demo's ISF head on codes alone: F(w(z), noise, d) must equal w of the same face with attributes d.

The code of that face is known, since codes are traits. The noise determines how an attribute looks (frames, beard,
wrinkles, teeth), so the head is multi-modal; all other traits are kept.
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
from export.demo_models.traits import ATTRIBUTES, MIN_STRENGTH, MODES, TRAITS, Codes, edited, random_codes
from export.networks.generator import Mapping
from export.networks.isf import Isf

NOISE_SIZE = 64
BATCH = 512
SCHEDULE = Schedule(steps=3000, rate=1.5e-3)
CODE_NOISE = 0.15
"""Standard deviation of noise on every row of w, like an encoder's error: rows need not lie exactly in W."""

NOISE_TRAITS = [*ATTRIBUTES, *MODES]
"""The traits that the first numbers of the noise determine."""

_IDENTITY_LAYERS = {
    r"w_net\.z_net\.shared\.[369]\.weight": 3.0,
    r"w_net\.z_net\.unshared\.\d+\.[02]\.weight": 0.0,
    r"w_net\.fc\.[14]\.weight": 3.0,
    r"w_net\.fc\.7\.weight": 0.0,
}
"""Layers that are initialised as the identity, and their biases, which keep activations positive."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def train_isf(mapping: Mapping, rows: int, schedule: Schedule, state: Path, *, seed: int) -> Isf:
    """Train a head for a frozen mapping network."""
    torch.manual_seed(seed)
    w_dim = len(mapping.w_avg)
    head = Isf(len(ISF_ATTRIBUTES), NOISE_SIZE, w_dim, rows, "adaln", pre_norm=True, residual=False)
    _init_as_identity(head)

    def loss(batch: Batch) -> Tensor:
        w, noise, attributes, target = batch
        edited_rows = head.edit(w, noise, attributes)
        return (edited_rows - target[:, None]).square().mean()

    optimise(head, loss, _batches(mapping, rows, seed), schedule, state, "ISF head")
    return head.eval()


def _init_as_identity(head: Isf) -> None:
    """Initialise every layer as the identity; biases keep activations positive, and normalisations remove the biases.

    With PyTorch's default initialisation, seven layers learn to ignore the noise and never recover.
    """
    parameters = dict(head.named_parameters())
    width = len(parameters["w_net.fc.7.bias"])
    with torch.no_grad():
        for name, lift in _IDENTITY_LAYERS.items():
            for weight in (key for key in parameters if re.fullmatch(name, key)):
                parameters[weight].copy_(torch.eye(width))
                parameters[weight.replace("weight", "bias")].fill_(lift)
        first = parameters["w_net.z_net.shared.0.weight"].zero_()
        used = torch.eye(first.shape[1])[[*range(len(NOISE_TRAITS)), *range(NOISE_SIZE, first.shape[1])]]
        first[: len(used)], first[len(used) : 2 * len(used)] = used, -used


def codes_from_noise(noise: Tensor | Codes) -> Codes:
    """Return codes whose attribute strengths and modes are the noise, [N, noise] -> [N, traits]."""
    codes = np.zeros((len(noise), len(TRAITS)), np.float32)
    codes[:, NOISE_TRAITS] = np.asarray(noise)[:, : len(NOISE_TRAITS)]
    codes[:, ATTRIBUTES] = np.maximum(np.abs(codes[:, ATTRIBUTES]), MIN_STRENGTH)
    return codes


def _batches(mapping: Mapping, rows: int, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    for index in count():
        codes = random_codes(BATCH, seed * 1_000_003 + index)
        noise = torch.from_numpy(rng.standard_normal((BATCH, NOISE_SIZE)).astype(np.float32))
        attributes = rng.integers(0, 2, (BATCH, len(ISF_ATTRIBUTES))).astype(np.float32)
        target = edited(codes, attributes, codes_from_noise(noise))
        with torch.no_grad():
            w, target_w = mapping(torch.from_numpy(codes)), mapping(torch.from_numpy(target))
            rows_of_w = w[:, None] + CODE_NOISE * torch.randn(BATCH, rows, w.shape[1]) * torch.rand(BATCH, 1, 1)
        yield rows_of_w, noise, torch.from_numpy(attributes), target_w
