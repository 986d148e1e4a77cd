"""Training of two generators together with their blends, so that each half of one fits both halves of the other.

A generator is divided at a resolution: the layers up to it draw geometry, those above it the surface. First the base's
two halves and a cartoon's lower half are trained together, so that the base's upper half gives either geometry the
photograph's surface. Then a cartoon's upper half is trained upon both lower halves. The blend at that resolution, and
its reverse, therefore have drawings of their own as targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from export.demo_models.dataset import Faces
from export.demo_models.generator_training import Stage, face_batches, loss_of
from export.demo_models.training import Schedule, device, optimise
from export.networks.generator import Generator

Batch = tuple[Tensor, Tensor]

LOWER_STAGES = (
    Stage(64, 12, Schedule(steps=2500, rate=1e-2), mouth_weight=4),
    Stage(256, 6, Schedule(steps=1200, rate=6e-3), mouth_weight=4),
)
UPPER_STAGES = (
    Stage(128, 8, Schedule(steps=1000, rate=1e-2), mouth_weight=4),
    Stage(256, 6, Schedule(steps=1800, rate=8e-3), mouth_weight=6),
)


@dataclass(frozen=True)
class Combinations:
    """Faces of the four combinations of geometry and surface; the first word is the geometry's domain."""

    photo_photo: Faces
    toon_photo: Faces
    toon_toon: Faces
    photo_toon: Faces


class Siblings(nn.Module):
    """Two generators that share some of their blocks."""

    def __init__(self, first: Generator, second: Generator) -> None:
        super().__init__()
        self.first, self.second = first, second


def train_siblings(
    base: Generator,
    faces: Combinations,
    split: int,
    stages: Callable[[tuple[Stage, ...]], tuple[Stage, ...]],
    work: Path,
    *,
    seed: int,
    compiled: bool = True,
) -> Generator:
    """Train the base further in place, and a cartoon generator from it.

    Args:
        base: a generator of photographs.
        faces: drawings of all combinations.
        split: the highest resolution of the lower halves.
        stages: scales stages to the effort of this training.
        work: the folder for what is needed to resume.
        seed: the seed of the order of faces.
        compiled: whether to compile the networks.

    Returns:
        The cartoon generator.
    """

    def is_upper(resolution: int) -> bool:
        return resolution > split

    transfer = with_blocks(deepcopy(base), base, is_upper)
    pictures = (faces.photo_photo, faces.toon_photo)
    _train_pair(Siblings(base, transfer), pictures, stages(LOWER_STAGES), work / "lower.state", seed, compiled)
    transfer = deepcopy(transfer)  # its upper half is its own from here on
    reverse = with_blocks(deepcopy(base), transfer, is_upper)
    for resolution, block in (*transfer.blocks, *reverse.blocks):
        block.requires_grad_(is_upper(resolution))
    pair, pictures = Siblings(transfer, reverse), (faces.toon_toon, faces.photo_toon)
    _train_pair(pair, pictures, stages(UPPER_STAGES), work / "upper.state", seed + 100, compiled)
    return transfer


def with_blocks(generator: Generator, other: Generator, chosen: Callable[[int], bool]) -> Generator:
    """Replace a generator's blocks of the chosen resolutions by another's, which both then share."""
    for resolution, block in other.blocks:
        if chosen(resolution):
            generator.synthesis[str(resolution)] = block
    return generator


def _train_pair(
    pair: Siblings, faces: tuple[Faces, Faces], stages: Sequence[Stage], state: Path, seed: int, compiled: bool
) -> None:
    """Train both generators in all stages, each on its own faces; ``state`` names the files to resume from."""
    for network in (pair.first, pair.second):
        network.mapping.requires_grad_(False)
    pair.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    for index, stage in enumerate(stages):
        losses = [loss_of(network, stage, compiled=compiled) for network in (pair.first, pair.second)]
        batches = zip(*(face_batches(each, stage, seed + index) for each in faces), strict=True)

        def loss(both: tuple[Batch, ...], losses: Sequence[Callable[[Batch], Tensor]] = tuple(losses)) -> Tensor:
            first, second = (part(batch) for part, batch in zip(losses, both, strict=True))
            return first + second

        file = state.with_name(f"{state.stem}-{index}{state.suffix}")
        optimise(pair, loss, iter(batches), stage.schedule, file, f"{state.stem} at {stage.resolution}")
    pair.cpu()
