"""Training of the demo's encoder: a drawn photograph -> the code from which the base generator draws it.

The code of a training picture is known, so the encoder is trained by regression. Two measures keep training short. The
rows' offsets stay 0, as in the first stage of e4e's progressive training, so that every code lies in W. Most residual
units keep their initial residual of 0: they are identities and are skipped in training. All units of the two largest
stages are among them, so that the stem is computed at every fourth pixel only. Pictures are shifted, scaled and rotated
a little, since landmarks of real photographs are never exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.tensors import rows_of
from export.demo_models.dataset import Faces
from export.demo_models.training import Schedule, device, mixed_precision, optimise
from export.networks.encoder import HeadsEncoder, input_from_face
from export.networks.generator import Generator
from export.networks.trunk import TrunkWidths
from export.weights import STAGE_UNITS

STAGES = (16, 24, 32, 48)
WIDENING_UNIT = 3
"""The residual unit whose shortcut, a 1x1 convolution, is trained; only the stem is trained before it."""
TRAINED_UNITS = (7, 8, 9, 21, 22, 23)
"""The trained residual units after it; those that change the number of channels must be among them."""
BATCH = 16
SCHEDULE = Schedule(steps=16_000, rate=4e-3)
LENGTH_WEIGHT = 0.1
"""Weight of the error of a code's length, relative to that of its direction."""
JITTER = (0.012, 0.02, 1.5)
"""Standard deviations of the crop's shift (a fraction of its side), of its scale, and of its angle in degrees."""


def new_encoder(w_avg: Tensor, rows: int, seed: int) -> HeadsEncoder:
    """Return an untrained e4e encoder of the demo's size that outputs the average face's code."""
    torch.manual_seed(seed)
    squeezed = tuple(
        max(width // 8, 2) for width, units in zip(STAGES, STAGE_UNITS["irse50"], strict=True) for _ in range(units)
    )
    encoder = HeadsEncoder(TrunkWidths(STAGES[0], STAGES, squeezed), rows, len(w_avg), "e4e")
    with torch.no_grad():
        encoder.latent_avg.copy_(w_avg.expand(rows, -1))
        for name, parameter in encoder.named_parameters():
            if name.startswith("styles.0.convs.") and parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)  # with PyTorch's default the signal would nearly vanish
            elif name.startswith("styles.") and not name.startswith("styles.0."):
                parameter.zero_()
        for index, unit in enumerate(encoder.body):
            if index not in TRAINED_UNITS:
                for name, residual in unit.named_parameters():
                    if name.startswith("res_layer."):
                        residual.zero_()
    return encoder


def train_encoder(
    generator: Generator, faces: Faces, schedule: Schedule, state: Path, *, seed: int, compiled: bool = True
) -> HeadsEncoder:
    """Train an encoder for a frozen generator."""
    encoder = new_encoder(generator.mapping.w_avg, rows_of(faces.pictures.shape[1]), seed)
    trained = TrainedLayers(encoder)
    place = device()
    trained.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    generator.mapping.to(place)
    code_of = torch.compile(trained) if compiled else trained

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, codes = (tensor.to(place, non_blocking=True) for tensor in batch)
        with torch.no_grad():
            w = generator.mapping(codes) - generator.mapping.w_avg
        with mixed_precision(place):
            predicted = code_of(input_from_face(pictures))
        return code_loss(predicted.float(), w)

    optimise(trained, loss, _batches(faces, seed), schedule, state, "encoder")
    generator.mapping.cpu()
    encoder.cpu().eval()
    scale_convolutions(trained)
    return encoder


def scale_convolutions(trained: TrainedLayers) -> None:
    """Rescale each convolution before a normalisation to an output variance of 1, within float16's range.

    The network's output does not change.
    """
    layers = [trained.stem, trained.widening, *(branch for unit in trained.units for branch in unit.children())]
    for convolution, norm in (pair for layer in layers for pair in pairwise(layer.children())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = torch.rsqrt(norm.running_var + norm.eps)
            with torch.no_grad():
                convolution.weight *= scale[:, None, None, None]
                norm.running_mean *= scale
                norm.running_var.fill_(1 - norm.eps)


def code_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the squared error of codes [N, D] rescaled to the true length, plus a small term for the length.

    Plain regression gives short codes where it is uncertain. Their pictures are pale, and an ISF head, which depends
    only on a code's direction, would lengthen them.
    """
    length, goal = predicted.norm(dim=1, keepdim=True), true.norm(dim=1, keepdim=True)
    direction = (predicted * goal / (length + 1e-6) - true).square().mean()
    error: Tensor = direction + LENGTH_WEIGHT * (length / goal - 1).square().mean()
    return error


class TrainedLayers(nn.Module):
    """The trained layers of an encoder: they give its first row without the average latent, skipping identity units."""

    def __init__(self, encoder: HeadsEncoder) -> None:
        super().__init__()
        self.stem = encoder.input_layer
        self.widening = encoder.body.get_submodule(f"{WIDENING_UNIT}.shortcut_layer")
        self.units = nn.ModuleList(encoder.body.get_submodule(str(index)) for index in TRAINED_UNITS)
        self.head = encoder.styles[0]

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, 256, 256] -> [N, D]
        x = _with_stride(4, self.stem, x)
        x = _with_stride(1, self.widening, x)
        for unit in self.units:
            x = unit(x)
        row: Tensor = self.head(x)
        return row


def _with_stride(stride: int, layers: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution with another stride than its own, and then the layers after it."""
    convolution, *others = layers.children()
    assert isinstance(convolution, nn.Conv2d)
    x = functional.conv2d(x, convolution.weight, stride=stride, padding=convolution.padding)
    out: Tensor = nn.Sequential(*others)(x)
    return out


def _batches(faces: Faces, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    while True:
        chosen = np.sort(rng.choice(len(faces.pictures), BATCH, replace=False))
        pictures = np.stack([jittered(picture, rng) for picture in faces.pictures[chosen]])
        yield torch.from_numpy(pictures), torch.from_numpy(faces.codes[chosen])


def jittered(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shift, scale and rotate a picture [H, H, 3] a little, as an imprecise alignment does."""
    side = picture.shape[0]
    shift = JITTER[0] * side * rng.standard_normal(2)
    size, angle = 1 + JITTER[1] * rng.standard_normal(), JITTER[2] * rng.standard_normal()
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, size)
    matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + shift])
    warped = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.uint8, copy=False)
