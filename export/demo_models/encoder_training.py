"""Trains the demo's encoder: a drawn photograph -> the code that the base generator draws it from.

The code of a training picture is known, so the encoder is trained by regression. Two things keep that short. The rows'
offsets stay 0, as in the first stage of e4e's progressive training, so that every code lies in W. And most residual
units stay as they start, with a residual of 0: they pass on what they get, and are left out while training. The first
stage is one of them, so training begins with pictures of half the size. They are moved and turned a little, as
landmarks of real photographs are never exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.demo_models.dataset import Faces
from export.demo_models.training import Schedule, mixed_precision, optimise
from export.networks.encoder import STAGE_UNITS, Encoder, EncoderWidths
from export.networks.generator import Generator
from serving.tensors import rows_of

STAGES = (16, 24, 32, 48)
TRAINED_UNITS = (3, 4, 7, 8, 9, 21, 22, 23)
"""Of the 24; those that change the number of channels must be among them."""
BATCH = 16
SCHEDULE = Schedule(steps=2400, rate=4e-3)
SMOOTHING = np.array([0.25, 0.5, 0.25], np.float32)
MOVES = (0.012, 0.02, 1.5)
"""Standard deviations of the crop's place (parts of its side), of its size, and of its angle in degrees."""


def new_encoder(w_avg: Tensor, rows: int, seed: int) -> Encoder:
    """An untrained e4e encoder of the demo's size that gives the average face."""
    torch.manual_seed(seed)
    squeezed = tuple(max(width // 8, 2) for width, units in zip(STAGES, STAGE_UNITS, strict=True) for _ in range(units))
    encoder = Encoder(EncoderWidths(STAGES[0], STAGES, squeezed), rows, len(w_avg), "e4e")
    with torch.no_grad():
        encoder.latent_avg.copy_(w_avg.expand(rows, -1))
        for name, parameter in encoder.named_parameters():
            if name.startswith("styles.0.convs.") and parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)  # PyTorch's own start would all but lose the picture on the way
            elif name.startswith("styles.") and not name.startswith("styles.0."):
                parameter.zero_()
        for index, unit in enumerate(encoder.body):
            if index not in TRAINED_UNITS:
                for residual in unit.parameters():
                    residual.zero_()
        first = dict(encoder.input_layer.named_parameters())
        first["0.weight"].zero_()
        first["2.weight"].fill_(1)  # of the rectifier: it passes on everything
        for colour in range(3):
            first["0.weight"][colour, colour] = torch.from_numpy(np.outer(SMOOTHING, SMOOTHING))
    return encoder


def train_encoder(
    generator: Generator, faces: Faces, schedule: Schedule, state: Path, *, seed: int, compiled: bool = True
) -> Encoder:
    """Train an encoder for a frozen generator."""
    encoder = new_encoder(generator.mapping.w_avg, rows_of(faces.pictures.shape[1]), seed)
    part = TrainedPart(encoder)
    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for tensors only
    code_of = torch.compile(part) if compiled else part

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, codes = batch
        with torch.no_grad():
            w = generator.mapping(codes) - generator.mapping.w_avg
        with mixed_precision():
            found = code_of(pictures)
        error: Tensor = (found.float() - w).square().mean()
        return error

    optimise(part, loss, _batches(faces, seed), schedule, state, "encoder")
    encoder.eval()
    return encoder


class TrainedPart(nn.Module):
    """What of an encoder is trained: its first row without the average, through the units that do something."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.units = nn.ModuleList(encoder.body[index] for index in TRAINED_UNITS)
        self.head = encoder.styles[0]

    def forward(self, x: Tensor) -> Tensor:  # [N, STAGES[0], 128, 128] -> [N, D]
        for unit in self.units:
            x = unit(x)
        row: Tensor = self.head(x)
        return row


def _batches(faces: Faces, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    while True:
        chosen = np.sort(rng.choice(len(faces.pictures), BATCH, replace=False))
        moved = np.stack([_moved(picture, rng) for picture in faces.pictures[chosen]])
        yield after_first_stage(moved), torch.from_numpy(faces.codes[chosen])


def after_first_stage(pictures: NDArray[np.uint8]) -> Tensor:
    """What the stem and the first stage make of pictures: uint8 [N, 256, 256, 3] -> [N, STAGES[0], 128, 128].

    The three colours, smoothed, and every second pixel of them; all other channels are 0.
    """
    size = pictures.shape[1] // 2
    out = torch.zeros(len(pictures), size, size, STAGES[0])
    for index, picture in enumerate(pictures):
        colours = picture.astype(np.float32) / 127.5 - 1
        smooth = cv2.sepFilter2D(colours, -1, SMOOTHING, SMOOTHING, borderType=cv2.BORDER_CONSTANT)
        out[index, :, :, :3] = torch.from_numpy(smooth[::2, ::2])
    return out.permute(0, 3, 1, 2)  # channels last


def _moved(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = picture.shape[0]
    shift = MOVES[0] * side * rng.standard_normal(2)
    size, angle = 1 + MOVES[1] * rng.standard_normal(), MOVES[2] * rng.standard_normal()
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, size)
    matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + shift])
    moved = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8, copy=False)
