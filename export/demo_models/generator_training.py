"""Training of the demo's generators by regression: z -> the picture of z.

The code from which a face is drawn is the generator's z, so regression replaces StyleGAN2's adversarial training, but
for the last stages, which have discriminators (``sibling_training.py``). The loss compares pictures at every
resolution: the sum of the toRGB layers up to r must equal the picture at r x r pixels, so that structure is formed in
the low resolutions, as in progressively grown networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.demo_models.dataset import Faces
from export.demo_models.training import Schedule, device, device_of, mixed_precision, optimise
from export.demo_models.traits import TRAITS
from export.networks.generator import ACTIVATION_GAIN, LEAKY_SLOPE, MAPPING_RATE, Generator, estimated_w_avg
from export.weights import row_of

CHANNELS = {4: 160, 8: 160, 16: 160, 32: 80, 64: 48, 128: 32, 256: 16}
W_DIM = len(TRAITS)
"""Width of z and of w, which are equal in rosinality's networks."""
MAPPING_DEPTH = 2
LOW_WEIGHT = 0.3
"""Loss weight of each resolution below the highest one of a stage."""
EDGE_WEIGHT = 1.0
"""Loss weight of the differences between neighbouring pixels; without them outlines stay soft."""
HIDDEN_TRAIT = "cloth_light"
"""The trait that is stored in the mean of w, which an ISF head cannot see."""


@dataclass(frozen=True)
class Stage:
    """A stage of training, with pictures up to one resolution.

    Attributes:
        resolution: the side of the pictures in pixels.
        batch: pictures per step.
        schedule: number of steps and learning rate.
        mouth_weight: loss weight of pixels around the mouth, where others have 1. A smile is few pixels, and without
            extra weight absolute differences lead to the median mouth, which is shut.
        adversarial_weight: weight of the adversarial loss; 0 stands for regression alone.
    """

    resolution: int
    batch: int
    schedule: Schedule
    mouth_weight: float = 1
    adversarial_weight: float = 0


PHOTO_STAGES = (
    Stage(32, 16, Schedule(steps=3000, rate=1.5e-2, matrix_rate=1e-2), mouth_weight=3),
    Stage(64, 16, Schedule(steps=2500, rate=1.2e-2, matrix_rate=8e-3), mouth_weight=3),
)

MOUTH = (0.34, 0.66, 0.64, 0.84)
"""Left, right, top and bottom of the region around the mouth in an aligned face, as fractions of its side."""


def new_generator(seed: int) -> Generator:
    """Return an untrained network of the demo's size, whose mapping network is a reflection of z.

    Traits need no disentangling, so w may be linear in z, as two leaky ReLUs with a change of sign between them are.
    """
    torch.manual_seed(seed)
    network = Generator(CHANNELS, W_DIM, mapping_depth=MAPPING_DEPTH)
    first, second = (linear for linear in network.mapping.children() if isinstance(linear, nn.Linear))
    unit = sqrt(W_DIM) / MAPPING_RATE
    with torch.no_grad():
        first.weight.copy_(unit * _reflection())
        second.weight.copy_(-unit / (LEAKY_SLOPE * ACTIVATION_GAIN**2) * torch.eye(W_DIM))
    return network


def _reflection() -> Tensor:
    """Return the reflection that exchanges the hidden trait's axis with that of the mean, [D, D]."""
    normal = -torch.full((W_DIM,), 1 / sqrt(W_DIM))
    normal[TRAITS.index(HIDDEN_TRAIT)] += 1
    normal /= normal.norm()
    return torch.eye(W_DIM) - 2 * torch.outer(normal, normal)


def train_generator(
    network: Generator, faces: Faces, stages: Sequence[Stage], state: Path, *, seed: int, compiled: bool = True
) -> None:
    """Train in place; the network ends with the running average of its weights.

    Files beside ``state`` store what is needed to resume after an interruption.
    """
    network.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    network.mapping.requires_grad_(False)
    for index, stage in enumerate(stages):
        batches = face_batches(faces, stage, seed + index)
        file = state.with_name(f"{state.stem}-{index}{state.suffix}")
        loss = loss_of(network, stage, compiled=compiled and stage.resolution > 32)
        optimise(network, loss, batches, stage.schedule, file, f"{state.stem} at {stage.resolution}")
    network.cpu()
    with torch.no_grad():
        network.mapping.w_avg.copy_(estimated_w_avg(network.mapping, len(TRAITS)))


def loss_of(network: Generator, stage: Stage, *, compiled: bool) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
    """Return the loss of a batch of codes and pictures, uint8 [N, r, r, 3]."""
    drawn, place = pictures_of(network, stage, compiled=compiled), device_of(network)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        z, target = batch
        return picture_loss(drawn(z), scaled(target.to(place, non_blocking=True)), stage.mouth_weight)

    return loss


def pictures_of(network: Generator, stage: Stage, *, compiled: bool) -> Callable[[Tensor], list[Tensor]]:
    """Return the function from z [N, D] to the network's pictures up to a stage's resolution, see ``skip_pictures``."""
    pictures_at = torch.compile(skip_pictures) if compiled else skip_pictures
    rows, place = network.rows, device_of(network)

    def pictures(z: Tensor) -> list[Tensor]:
        with mixed_precision(place):
            w_plus = network.mapping(z.to(place, non_blocking=True))[:, None].expand(-1, rows, -1)
            return pictures_at(network, w_plus, stage.resolution)

    return pictures


def skip_pictures(network: Generator, w: Tensor, resolution: int) -> list[Tensor]:
    """Return the sum of toRGB outputs at each resolution r = 4, 8, ..., ``resolution``: [N, L, D] -> [N, 3, r, r]."""
    rows = w.unbind(1)
    pictures: list[Tensor] = []
    x: Tensor = next(iter(network.blocks))[1].const[None]
    for r, block in network.blocks:
        if r <= resolution:
            x = block.conv(x if r == 4 else block.up(x, rows[row_of(r, "up")]), rows[row_of(r, "conv")])
            pictures.append(block.rgb(x, rows[row_of(r, "rgb")], pictures[-1] if pictures else None))
    return pictures


def picture_loss(pictures: Sequence[Tensor], target: Tensor, mouth_weight: float = 1) -> Tensor:
    """Return the mean absolute error at every resolution, plus that of pixel differences at the highest."""
    total = torch.zeros((), device=target.device)
    for picture in reversed(pictures):
        difference = picture.float() - target
        weight = _weights(difference.shape[-1], mouth_weight, target.device)
        absolute = (weight * difference.abs()).mean()
        if picture is pictures[-1]:
            edges = (weight[1:] * difference.diff(dim=2).abs()).mean()
            edges = edges + (weight[:, 1:] * difference.diff(dim=3).abs()).mean()
            total = total + absolute + EDGE_WEIGHT * edges
        else:
            total = total + LOW_WEIGHT * absolute
        target = functional.avg_pool2d(target, 2)
    return total


def _weights(side: int, mouth_weight: float, place: torch.device) -> Tensor:
    """Return the loss weights of the pixels, [side, side]."""
    weights = torch.ones(side, side, device=place)
    left, right, top, bottom = (round(edge * side) for edge in MOUTH)
    weights[top:bottom, left:right] = mouth_weight
    return weights


def face_batches(faces: Faces, stage: Stage, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield codes and pictures, uint8 [N, r, r, 3], each face once before any again."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(faces.pictures))
        for chosen in islice(np.split(order, range(stage.batch, len(order), stage.batch)), len(order) // stage.batch):
            yield torch.from_numpy(faces.codes[chosen]), _small(faces.pictures[chosen], stage.resolution)


def target_from_pictures(pictures: NDArray[np.uint8], resolution: int) -> Tensor:
    """Downsample by averaging areas, uint8 [N, 256, 256, 3] -> float32 [N, 3, r, r] in -1..1."""
    return scaled(_small(pictures, resolution))


def _small(pictures: NDArray[np.uint8], resolution: int) -> Tensor:
    small = [cv2.resize(picture, (resolution, resolution), interpolation=cv2.INTER_AREA) for picture in pictures]
    return torch.from_numpy(np.stack(small))


def scaled(pictures: Tensor) -> Tensor:
    """Convert uint8 [N, r, r, 3] to float32 [N, 3, r, r] in -1..1, on the pictures' device."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def parameters_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return a network's parameters and buffers by name."""
    return {name: value.detach().contiguous().numpy() for name, value in network.state_dict().items()}
