"""Training of two generators together with their blends, so that each half of one fits both halves of the other.

A generator is divided at a resolution: the layers up to it draw geometry, those above it the surface. First the base's
two halves and a cartoon's lower half are trained together, so that one upper half gives either geometry the
photograph's surface. Then both surfaces are trained, each upon both lower halves. The blend at that resolution, and
its reverse, therefore have renderings of their own as targets. Each surface has a discriminator in its last stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from export.demo_models.dataset import Faces
from export.demo_models.discriminator import Discriminator, adversarial_losses
from export.demo_models.generator_training import Stage, face_batches, picture_loss, pictures_of, scaled
from export.demo_models.training import Schedule, device, optimise
from export.networks.generator import Generator

Batch = tuple[Tensor, Tensor]

SPLIT = 16
"""The resolution at which the generators are divided into geometry and surface."""

GEOMETRY_STAGES = (
    Stage(32, 16, Schedule(steps=2000, rate=1e-2, matrix_rate=6e-3), mouth_weight=4),
    Stage(64, 12, Schedule(steps=2000, rate=8e-3, matrix_rate=5e-3), mouth_weight=4),
)
"""Small pictures train geometry best: one of 32x32 takes a sixth of the time of one of 256x256."""
SURFACE_STAGES = (
    Stage(128, 8, Schedule(steps=800, rate=8e-3, matrix_rate=5e-3), mouth_weight=4),
    Stage(256, 4, Schedule(steps=1600, rate=7e-3, matrix_rate=4.5e-3), mouth_weight=4, adversarial_weight=0.05),
)


@dataclass(frozen=True)
class Combinations:
    """Faces of the four combinations of geometry and surface; the first word is the geometry's domain."""

    photo_photo: Faces
    toon_photo: Faces
    toon_toon: Faces
    photo_toon: Faces


class Siblings(nn.Module):
    """Two generators that share some of their blocks, and the discriminator of their common surface."""

    def __init__(self, first: Generator, second: Generator) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.discriminator = Discriminator()


def train_siblings(
    base: Generator,
    transfer: Generator | None,
    faces: Combinations,
    stages: Callable[[tuple[Stage, ...]], tuple[Stage, ...]],
    work: Path,
    *,
    seed: int,
    compiled: bool = True,
) -> Generator:
    """Train the base further in place, and a cartoon generator.

    Args:
        base: a generator of photographs.
        transfer: a cartoon generator to go on with; without one, it begins as the base.
        faces: renderings of all combinations.
        stages: scales stages to the effort of this training.
        work: the folder for what is needed to resume.
        seed: the seed of the order of faces and of the discriminators.
        compiled: whether to compile the networks.

    Returns:
        The cartoon generator.
    """
    torch.manual_seed(seed)  # for the discriminators
    lower = with_blocks(deepcopy(transfer or base), base, _is_upper)
    pictures = (faces.photo_photo, faces.toon_photo)
    photo_surface = Siblings(base, lower)
    _train_pair(photo_surface, pictures, stages(GEOMETRY_STAGES), work / "geometry.state", seed, compiled)
    toon = with_blocks(deepcopy(lower), deepcopy(transfer or base), _is_upper)  # an upper half of its own
    toon_surface = Siblings(toon, with_blocks(deepcopy(base), toon, _is_upper))
    others = (faces.toon_toon, faces.photo_toon)
    for pair, shown, name in ((photo_surface, pictures, "photo"), (toon_surface, others, "toon")):
        for resolution, block in (*pair.first.blocks, *pair.second.blocks):
            block.requires_grad_(_is_upper(resolution))
        _train_pair(pair, shown, stages(SURFACE_STAGES), work / f"{name}-surface.state", seed + 100, compiled)
    return toon


def _is_upper(resolution: int) -> bool:
    return resolution > SPLIT


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
        batches = zip(*(face_batches(each, stage, seed + index) for each in faces), strict=True)
        file = state.with_name(f"{state.stem}-{index}{state.suffix}")
        loss = _pair_loss(pair, stage, compiled=compiled)
        optimise(pair, loss, iter(batches), stage.schedule, file, f"{state.stem} at {stage.resolution}")
    pair.cpu()


def _pair_loss(pair: Siblings, stage: Stage, *, compiled: bool) -> Callable[[tuple[Batch, Batch]], Tensor]:
    """Return the loss of a batch for each generator, and of the discriminator if the stage has an adversarial part."""
    first, second = (pictures_of(network, stage, compiled=compiled) for network in (pair.first, pair.second))

    def loss(both: tuple[Batch, Batch]) -> Tensor:
        (z, _), (other_z, _) = both
        drawn = first(z), second(other_z)
        targets = [scaled(pictures.to(device())) for _, pictures in both]
        first_loss, second_loss = (
            picture_loss(pictures, target, stage.mouth_weight) for pictures, target in zip(drawn, targets, strict=True)
        )
        if not stage.adversarial_weight:
            return first_loss + second_loss
        made = torch.cat([pictures[-1].float() for pictures in drawn])
        generators_loss, discriminators_loss = adversarial_losses(pair.discriminator, made, torch.cat(targets))
        return first_loss + second_loss + stage.adversarial_weight * generators_loss + discriminators_loss

    return loss
