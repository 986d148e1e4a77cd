"""Training of two generators together with their blends, so that each half of one fits both halves of the other.

A generator is divided at a resolution: the layers up to it draw geometry, those above it the surface. First the base's
two halves and a cartoon's lower half are trained together, so that one upper half gives either geometry the
photograph's surface. Then both surfaces are trained upon both geometries, and so are the blends by higher resolutions:
that at 32 shows a surface halfway, those above the whole surface of the lower layers. Every blend has renderings of its
own as targets, and at 256x256 discriminators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor, nn

from export.demo_models.dataset import Faces
from export.demo_models.discriminator import Discriminator, adversarial_losses
from export.demo_models.domains import CARTOON, PHOTO, TOON_PHOTO, Domain
from export.demo_models.generator_training import Stage, face_batches, picture_loss, pictures_of, scaled
from export.demo_models.training import Schedule, device, optimise
from export.networks.generator import Generator

SPLIT = 16
"""The resolution at which the generators are divided into geometry and surface."""
SURFACE_SHARES = {SPLIT: 0.0, 32: 0.5, 64: 1.0, 128: 1.0}
"""How much of its surface a blend has from the sibling of its lower layers, by r_swap: 0 is nothing, 1 everything."""
TEXTURES = (0.0, 0.5, 1.0)
"""The textures of the domains that blends show; each has a discriminator."""

GEOMETRY_STAGES = (
    Stage(32, 16, Schedule(steps=4000, rate=1e-2, matrix_rate=6e-3), mouth_weight=4),
    Stage(64, 12, Schedule(steps=3000, rate=8e-3, matrix_rate=5e-3), mouth_weight=4),
)
"""Small pictures train geometry best: one of 32x32 takes a sixth of the time of one of 256x256."""
SURFACE_STAGES = (
    Stage(128, 8, Schedule(steps=2000, rate=8e-3, matrix_rate=5e-3), mouth_weight=4),
    Stage(256, 4, Schedule(steps=4000, rate=7e-3, matrix_rate=4.5e-3), mouth_weight=4, adversarial_weight=0.05),
    Stage(256, 4, Schedule(steps=3000, rate=3.5e-3, matrix_rate=2.2e-3), mouth_weight=4, adversarial_weight=0.01),
)
"""The last stage moves contours to where renderings have them.

With an adversarial weight of 0.015 instead of 0.05, an earlier base reached 27.1 instead of 26.8 dB.
"""


@dataclass(frozen=True, eq=False)
class TrainedBlend:
    """A generator whose layers are those of two siblings, and what it shall draw.

    Attributes:
        network: the generator, which shares its layers with the siblings.
        domain: the domain of its pictures.
        compared_above: the resolution above which its pictures are compared. Up to it, they are those of another blend,
            which has targets for them.
    """

    network: Generator
    domain: Domain
    compared_above: int = 0


Batch = tuple[TrainedBlend, Tensor, Tensor]
"""A blend, codes [N, D], and pictures of them in its domain, uint8 [N, r, r, 3]."""


class Siblings(nn.Module):
    """Two generators, and a discriminator for each texture of their blends."""

    def __init__(self, base: Generator, transfer: Generator) -> None:
        super().__init__()
        self.base, self.transfer = base, transfer
        self.discriminators = nn.ModuleList(Discriminator() for _ in TEXTURES)


def train_siblings(
    base: Generator,
    transfer: Generator | None,
    faces: Mapping[Domain, Faces],
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
        faces: renderings in the domains of all blends.
        stages: scales stages to the effort of this training.
        work: the folder for what is needed to resume.
        seed: the seed of the order of faces and of the discriminators.
        compiled: whether to compile the networks.

    Returns:
        The cartoon generator.
    """
    torch.manual_seed(seed)  # for the discriminators
    siblings = Siblings(base, deepcopy(transfer or base))
    for network in (siblings.base, siblings.transfer):
        network.mapping.requires_grad_(False)
    siblings.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    geometry, surface = geometry_blends(siblings), surface_blends(siblings)
    _train(siblings, geometry, faces, stages(GEOMETRY_STAGES), work / "geometry.state", seed, compiled)
    for resolution, block in (*siblings.base.blocks, *siblings.transfer.blocks):
        block.requires_grad_(resolution > SPLIT)
    _train(siblings, surface, faces, stages(SURFACE_STAGES), work / "surface.state", seed + 100, compiled)
    siblings.cpu()
    return siblings.transfer


def with_shared_layers(lower: Generator, upper: Generator, r_swap: int) -> Generator:
    """Return a generator that shares the layers of one up to a resolution, and those of another above it."""
    network = deepcopy(lower)
    for (resolution, below), (_, above) in zip(lower.blocks, upper.blocks, strict=True):
        network.synthesis[str(resolution)] = below if resolution <= r_swap else above
    return network


def geometry_blends(siblings: Siblings) -> list[TrainedBlend]:
    """Return the base and, under the same upper half, the cartoon's lower half."""
    proportions = with_shared_layers(siblings.transfer, siblings.base, SPLIT)
    return [TrainedBlend(siblings.base, PHOTO), TrainedBlend(proportions, TOON_PHOTO)]


def surface_blends(siblings: Siblings) -> list[TrainedBlend]:
    """Return all blends in the order in which they are trained: every second one has a surface of one sibling alone."""
    base, transfer = siblings.base, siblings.transfer
    blends = [
        TrainedBlend(with_shared_layers(lower, upper, r_swap), domain_of_blend(r_swap, reverse=reverse), r_swap)
        for r_swap in SURFACE_SHARES
        for lower, upper, reverse in ((transfer, base, False), (base, transfer, True))
    ]
    # The four whole surfaces, three times, beside the six other blends, twice.
    whole = [TrainedBlend(base, PHOTO, SPLIT), TrainedBlend(transfer, CARTOON, SPLIT), *blends[:2]]
    return [blend for pair in zip(whole * 3, blends[2:] * 2, strict=True) for blend in pair]


def domain_of_blend(r_swap: int, *, reverse: bool) -> Domain:
    """Return the domain that a blend is trained to show: the lower layers' geometry, and some of their surface."""
    share = SURFACE_SHARES[r_swap]
    return Domain(0, 1 - share) if reverse else Domain(1, share)


def _train(
    siblings: Siblings,
    blends: Sequence[TrainedBlend],
    faces: Mapping[Domain, Faces],
    stages: Sequence[Stage],
    state: Path,
    seed: int,
    compiled: bool,
) -> None:
    """Train in all stages, two blends in each step; ``state`` names the files to resume from."""
    for index, stage in enumerate(stages):
        file = state.with_name(f"{state.stem}-{index}{state.suffix}")
        loss = loss_of_blends(siblings, blends, stage, compiled=compiled)
        batches = blend_batches(blends, faces, stage, seed + index)
        optimise(siblings, loss, batches, stage.schedule, file, f"{state.stem} at {stage.resolution}")


def blend_batches(
    blends: Sequence[TrainedBlend], faces: Mapping[Domain, Faces], stage: Stage, seed: int
) -> Iterator[tuple[Batch, Batch]]:
    """Yield batches for two blends at a time, in their order, again and again."""
    batches = {
        blend: face_batches(faces[blend.domain], stage, seed + index)
        for index, blend in enumerate(dict.fromkeys(blends))
    }
    upcoming = ((blend, *next(batches[blend])) for blend in cycle(blends))
    return zip(upcoming, upcoming, strict=False)


def loss_of_blends(
    siblings: Siblings, blends: Sequence[TrainedBlend], stage: Stage, *, compiled: bool
) -> Callable[[tuple[Batch, Batch]], Tensor]:
    """Return the loss of two batches, and of the discriminators if the stage has an adversarial part."""
    pictures_by = {blend: pictures_of(blend.network, stage, compiled=compiled) for blend in blends}

    def loss_of(blend: TrainedBlend, z: Tensor, pictures: Tensor) -> Tensor:
        target = scaled(pictures.to(device()))
        drawn = pictures_by[blend](z)
        compared = [picture for picture in drawn if picture.shape[-1] > blend.compared_above]
        loss = picture_loss(compared, target, stage.mouth_weight)
        if not stage.adversarial_weight:
            return loss
        discriminator = siblings.discriminators[TEXTURES.index(blend.domain.texture)]
        assert isinstance(discriminator, Discriminator)
        generators_loss, discriminators_loss = adversarial_losses(discriminator, drawn[-1].float(), target)
        return loss + stage.adversarial_weight * generators_loss + discriminators_loss

    return lambda batches: torch.stack([loss_of(*batch) for batch in batches]).sum()
