"""Training of the demo's ISF head on codes alone: F(w(z), noise, d) must equal w of the same face with attributes d.

The code of that face is known, since codes are traits. The noise determines how an attribute looks that changes
(frames, beard, wrinkles, teeth), so the head is multi-modal. An attribute that stays looks as before, and all other
traits are kept. The head is residual, F = w + change: then its 46 hidden units do not have to carry w itself, whose
traits it kept with a squared error of 0.03 otherwise, and of 0.001 in this form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.contract.tensors import ISF_ATTRIBUTES
from export.demo_models.training import Schedule, device, optimise
from export.demo_models.traits import (
    ATTRIBUTES,
    MIN_STRENGTH,
    MODES,
    TRAITS,
    TraitCodes,
    attributes_of,
    edited,
    random_codes,
)
from export.networks.generator import Mapping
from export.networks.isf import Isf

NOISE_SIZE = 64
BATCH = 512
SCHEDULE = Schedule(steps=16000, rate=4e-3)
CODE_NOISE = 0.15
"""Standard deviation of noise on every row of w, like an encoder's error: rows need not lie exactly in W."""

NOISE_TRAITS = [*ATTRIBUTES, *MODES]
"""The traits that the first numbers of the noise determine."""

_IDENTITY_LAYERS = {
    r"w_net\.z_net\.shared\.[369]\.weight": 3.0,
    r"w_net\.z_net\.unshared\.\d+\.[02]\.weight": 0.0,
    r"w_net\.fc\.[14]\.weight": 3.0,
}
"""Layers that are initialised as the identity, and their biases, which keep activations positive."""

MOST_CHANGES = 0.7
"""The largest probability with which an attribute of a batch's face changes; most requests change one or two."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def train_isf(mapping: Mapping, rows: int, schedule: Schedule, state: Path, *, seed: int) -> Isf:
    """Train a head for a frozen mapping network."""
    torch.manual_seed(seed)
    w_dim = len(mapping.w_avg)
    head = Isf(len(ISF_ATTRIBUTES), NOISE_SIZE, w_dim, rows, "adaln", pre_norm=True, residual=True)
    _init_as_identity(head)
    place = device()
    head.to(place)

    def loss(batch: Batch) -> Tensor:
        w, noise, attributes, target = (tensor.to(place, non_blocking=True) for tensor in batch)
        edited_rows = head.edit(w, noise, attributes)
        return (edited_rows - target[:, None]).square().mean()

    optimise(head, loss, _batches(mapping, rows, seed), schedule, state, "ISF head")
    return head.cpu().eval()


def _init_as_identity(head: Isf) -> None:
    """Initialise every layer as the identity, except the last one, which is 0 and changes nothing.

    Biases keep activations positive, and normalisations remove the biases. With PyTorch's default initialisation,
    seven layers learn to ignore the noise and never recover.
    """
    parameters = dict(head.named_parameters())
    width = len(parameters["w_net.fc.7.bias"])
    with torch.no_grad():
        parameters["w_net.fc.7.weight"].zero_()
        parameters["w_net.fc.7.bias"].zero_()
        for name, lift in _IDENTITY_LAYERS.items():
            for weight in (key for key in parameters if re.fullmatch(name, key)):
                parameters[weight].copy_(torch.eye(width))
                parameters[weight.replace("weight", "bias")].fill_(lift)
        first = parameters["w_net.z_net.shared.0.weight"].zero_()
        used = torch.eye(first.shape[1])[[*range(len(NOISE_TRAITS)), *range(NOISE_SIZE, first.shape[1])]]
        first[: len(used)], first[len(used) : 2 * len(used)] = used, -used


def codes_from_noise(noise: Tensor | TraitCodes) -> TraitCodes:
    """Return codes whose attribute strengths and modes are the noise, [N, noise] -> [N, traits]."""
    codes = np.zeros((len(noise), len(TRAITS)), np.float32)
    codes[:, NOISE_TRAITS] = np.asarray(noise)[:, : len(NOISE_TRAITS)]
    codes[:, ATTRIBUTES] = np.maximum(np.abs(codes[:, ATTRIBUTES]), MIN_STRENGTH)
    return codes


def _targets(codes: TraitCodes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Target attributes, of which a random share changes: none in some faces, all in few."""
    source = attributes_of(codes)
    changes = rng.random(source.shape) < MOST_CHANGES * rng.random((len(codes), 1))
    return np.where(changes, 1 - source, source)


def _batches(mapping: Mapping, rows: int, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    for index in count():
        codes = random_codes(BATCH, seed * 1_000_003 + index)
        noise = torch.from_numpy(rng.standard_normal((BATCH, NOISE_SIZE)).astype(np.float32))
        attributes = _targets(codes, rng)
        target = edited(codes, attributes, codes_from_noise(noise))
        with torch.no_grad():
            w, target_w = mapping(torch.from_numpy(codes)), mapping(torch.from_numpy(target))
            rows_of_w = w[:, None] + CODE_NOISE * torch.randn(BATCH, rows, w.shape[1]) * torch.rand(BATCH, 1, 1)
        yield rows_of_w, noise, torch.from_numpy(attributes), target_w
