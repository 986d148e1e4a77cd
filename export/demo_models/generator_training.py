"""Trains the demo's two generators: z -> the drawn photograph of z, then, from there, z -> its cartoon.

The code that a face was drawn from is the generator's z, so plain regression replaces the adversary of StyleGAN2. The
picture is asked for at every resolution: the sum of the toRGB layers up to r must equal the drawing in r x r pixels,
so structure is made where it first shows, in the low resolutions, as in networks that were grown. The cartoon network
starts from the photograph's weights and keeps its mapping network, as transfer learning for layer swapping does; and it
learns in two steps, each of which holds the rest of the network: the low resolutions learn a cartoon's proportions with
a photograph's surface, then the high ones learn a cartoon's surface. Trained all at once, so small a network draws
outlines with the layers that place the eyes.
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
from export.demo_models.training import Schedule, mixed_precision, optimise
from export.demo_models.traits import TRAITS
from export.networks.generator import ACTIVATION_GAIN, LEAKY_SLOPE, MAPPING_RATE, Generator, estimated_w_avg
from export.weights import row_of

CHANNELS = {4: 80, 8: 80, 16: 80, 32: 80, 64: 48, 128: 32, 256: 16}
W_DIM = len(TRAITS)
"""Of z and w alike, as in rosinality's networks."""
MAPPING_DEPTH = 2
LOW_WEIGHT = 0.3
"""Of every resolution below the trained one."""
EDGE_WEIGHT = 1.0
"""Of the difference between neighbouring pixels, without which outlines stay soft."""
HIDDEN_TRAIT = "cloth_light"
"""Of a row of w, an ISF head cannot see the mean; this trait, and no other, is put there."""


@dataclass(frozen=True)
class Stage:
    """Training up to one resolution.

    ``mouth`` is the weight of the mouth's surroundings, the rest has 1: a smile is few pixels, and absolute differences
    lead to the median mouth, which is shut, unless those count. ``trained``: from and up to which resolution layers are
    trained; the others stay as they are.
    """

    resolution: int
    batch: int
    schedule: Schedule
    mouth: float = 1
    trained: tuple[int, int] = (4, 256)


PHOTO_STAGES = (
    Stage(32, 16, Schedule(steps=3000, rate=1.5e-2)),
    Stage(64, 16, Schedule(steps=4000, rate=1.2e-2)),
    Stage(128, 12, Schedule(steps=1800, rate=1e-2)),
    Stage(256, 8, Schedule(steps=2200, rate=8e-3)),
    Stage(64, 16, Schedule(steps=1800, rate=1.2e-2), mouth=12),
    Stage(256, 8, Schedule(steps=700, rate=8e-3), mouth=8),
)
PROPORTION_STAGES = (
    Stage(64, 16, Schedule(steps=1500, rate=1e-2), mouth=4, trained=(4, 32)),
    Stage(256, 8, Schedule(steps=600, rate=6e-3), mouth=4, trained=(4, 32)),
)
SURFACE_STAGES = (
    Stage(128, 12, Schedule(steps=800, rate=1e-2), mouth=4, trained=(64, 256)),
    Stage(256, 8, Schedule(steps=1200, rate=8e-3), mouth=8, trained=(64, 256)),
)

MOUTH = (0.34, 0.66, 0.64, 0.84)
"""Left, right, top and bottom of the mouth's surroundings in an aligned face."""


def new_generator(seed: int) -> Generator:
    """An untrained network of the demo's size, whose mapping network turns z and does nothing else.

    Traits need no disentangling, so w may be linear in z: two leaky rectifiers with a change of sign between them are.
    """
    torch.manual_seed(seed)
    network = Generator(CHANNELS, W_DIM, mapping_depth=MAPPING_DEPTH)
    first, second = (linear for linear in network.mapping.children() if isinstance(linear, nn.Linear))
    unit = sqrt(W_DIM) / MAPPING_RATE
    with torch.no_grad():
        first.weight.copy_(unit * _turn())
        second.weight.copy_(-unit / (LEAKY_SLOPE * ACTIVATION_GAIN**2) * torch.eye(W_DIM))
    return network


def _turn() -> Tensor:
    """The reflection that exchanges the hidden trait's axis and the mean's, [D, D]."""
    normal = -torch.full((W_DIM,), 1 / sqrt(W_DIM))
    normal[TRAITS.index(HIDDEN_TRAIT)] += 1
    normal /= normal.norm()
    return torch.eye(W_DIM) - 2 * torch.outer(normal, normal)


def train_generator(
    network: Generator, faces: Faces, stages: Sequence[Stage], state: Path, *, seed: int, compiled: bool = True
) -> None:
    """Train in place; ``state`` keeps what is needed to go on after an interruption.

    The trained weights are their running average.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for tensors only
    network.mapping.requires_grad_(False)
    for index, stage in enumerate(stages):
        lowest, highest = stage.trained
        for resolution, block in network.blocks:
            block.requires_grad_(lowest <= resolution <= highest)
        batches = _batches(faces, stage, seed + index)
        file = state.with_name(f"{state.stem}-{index}{state.suffix}")
        loss = _loss_of(network, stage, compiled=compiled and stage.resolution > 32)
        optimise(network, loss, batches, stage.schedule, file, f"{state.stem} at {stage.resolution}")
    with torch.no_grad():
        network.mapping.w_avg.copy_(estimated_w_avg(network.mapping, len(TRAITS)))


def _loss_of(network: Generator, stage: Stage, *, compiled: bool) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
    pictures_at = torch.compile(skip_pictures) if compiled else skip_pictures
    rows = 2 * len(network.synthesis)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        z, target = batch
        with mixed_precision():
            w_plus = network.mapping(z)[:, None].expand(-1, rows, -1)
            pictures = pictures_at(network, w_plus, stage.resolution)
        return picture_loss(pictures, target, stage.mouth)

    return loss


def skip_pictures(network: Generator, w: Tensor, resolution: int) -> list[Tensor]:
    """The sum of the toRGB layers at every resolution up to ``resolution``: [N, L, D] -> [N, 3, r, r], r = 4, 8, ..."""
    rows = w.unbind(1)
    pictures: list[Tensor] = []
    x: Tensor = next(iter(network.blocks))[1].const[None]
    for r, block in network.blocks:
        if r <= resolution:
            x = block.conv(x if r == 4 else block.up(x, rows[row_of(r, "up")]), rows[row_of(r, "conv")])
            pictures.append(block.rgb(x, rows[row_of(r, "rgb")], pictures[-1] if pictures else None))
    return pictures


def picture_loss(pictures: Sequence[Tensor], target: Tensor, mouth: float = 1) -> Tensor:
    """Mean absolute differences at every resolution, and of neighbouring pixels at the highest."""
    total = torch.zeros(())
    for picture in reversed(pictures):
        difference = picture.float() - target
        weight = _weights(difference.shape[-1], mouth)
        absolute = (weight * difference.abs()).mean()
        if picture is pictures[-1]:
            edges = (weight[1:] * difference.diff(dim=2).abs()).mean()
            edges = edges + (weight[:, 1:] * difference.diff(dim=3).abs()).mean()
            total = total + absolute + EDGE_WEIGHT * edges
        else:
            total = total + LOW_WEIGHT * absolute
        target = functional.avg_pool2d(target, 2)
    return total


def _weights(side: int, mouth: float) -> Tensor:
    """Of the pixels' differences, [side, side]."""
    weights = torch.ones(side, side)
    left, right, top, bottom = (round(edge * side) for edge in MOUTH)
    weights[top:bottom, left:right] = mouth
    return weights


def _batches(faces: Faces, stage: Stage, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(faces.pictures))
        for chosen in islice(np.split(order, range(stage.batch, len(order), stage.batch)), len(order) // stage.batch):
            yield torch.from_numpy(faces.codes[chosen]), target_from_pictures(faces.pictures[chosen], stage.resolution)


def target_from_pictures(pictures: NDArray[np.uint8], resolution: int) -> Tensor:
    """uint8 [N, 256, 256, 3] -> -1..1 float [N, 3, r, r], averaged."""
    small = [cv2.resize(picture, (resolution, resolution), interpolation=cv2.INTER_AREA) for picture in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


def parameters_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Parameters and buffers by name."""
    return {name: value.detach().contiguous().numpy() for name, value in network.state_dict().items()}
