"""Layer groups, which are the units of a blend, and each model's share in them.

At every resolution r there are three groups: ``up`` (the upsampling convolution; at 4 the constant), ``conv`` (the
second convolution) and ``rgb`` (toRGB, which StyleGAN1 has at the highest resolution only). A convolution's group holds
its weight, bias, affine weight and bias, and noise strength. Noise maps belong to no group: each comes from one model,
since the mean of two independent normal maps has a standard deviation of 0.71. The mapping network and w_avg belong to
no group either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, isfinite
from typing import Literal, get_args

from engines.contract.blends import NEGLIGIBLE
from engines.contract.errors import BlendError
from export.weights import row_of

Part = Literal["up", "conv", "rgb"]
PARTS: tuple[Part, ...] = get_args(Part)

Donor = Literal["base", "transfer"]
NoiseDonor = Literal["base", "transfer", "majority"]
"""``majority``: each noise map comes from the model with the greatest share in its layer's group."""


@dataclass(frozen=True)
class Group:
    """The layers of one part at one resolution."""

    resolution: int
    part: Part

    def __str__(self) -> str:
        return f"{self.resolution}.{self.part}"

    @property
    def level(self) -> int:
        """log2 of the resolution."""
        return self.resolution.bit_length() - 1

    @property
    def row(self) -> int | None:
        """The row of W+ that modulates the group; None for the constant."""
        return None if self == CONST else row_of(self.resolution, self.part)


CONST = Group(4, "up")


def groups_of(resolution: int) -> tuple[Group, ...]:
    """Return all groups of a generator, from the constant to the last toRGB."""
    levels = range(2, resolution.bit_length())
    return tuple(Group(1 << level, part) for level in levels for part in PARTS)


def group_of(tensor: str) -> Group:
    """Return the group of a tensor of the synthesis network, given the tensor's canonical name."""
    _, resolution, part = tensor.split(".")[:3]
    return CONST if part == "const" else Group(int(resolution), PARTS[PARTS.index(part)])


@dataclass(frozen=True)
class ChannelMask:
    """Output channels whose shares, ``models``, differ from their group's."""

    channels: tuple[int, ...]
    models: tuple[float, ...]


@dataclass(frozen=True)
class Shares:
    """The models' shares in one group, base first: numbers within 0..1 that sum to 1.

    Masks apply to the rows of ``weight`` and ``bias`` (and ``const``) of the masked output channels. The affine layer
    and the noise strength act on the whole layer and use the group's shares.
    """

    models: tuple[float, ...]
    masks: tuple[ChannelMask, ...] = ()


@dataclass(frozen=True)
class BlendSchedule:
    """The share of every model in every layer group.

    Attributes:
        description: the options that determine this schedule.
        shares: one entry for each of ``groups_of(resolution)``.
        mapping: the donor of mapping network and w_avg; None leaves it to the caller.
        noise: the donor of the noise maps.
        warnings: warnings for the report.
        stylegan2_only: whether the shares follow StyleGAN2's rows of W+ or a tool for StyleGAN2.

    Raises:
        BlendError: the shares of a group are not within 0..1 or do not sum to 1.
    """

    description: str
    shares: Mapping[Group, Shares]
    mapping: Donor | None = None
    noise: NoiseDonor = "base"
    warnings: tuple[str, ...] = ()
    stylegan2_only: bool = False

    def __post_init__(self) -> None:
        for group, shares in self.shares.items():
            for vector in (shares.models, *(mask.models for mask in shares.masks)):
                self._check_convex(group, vector)

    @property
    def model_count(self) -> int:
        """Number of the blended models."""
        return len(next(iter(self.shares.values())).models)

    @property
    def donors(self) -> tuple[int, ...]:
        """Indices of the models with a share in any layer."""
        vectors = [v for s in self.shares.values() for v in (s.models, *(mask.models for mask in s.masks))]
        return tuple(sorted({index for vector in vectors for index, share in enumerate(vector) if share > NEGLIGIBLE}))

    def _check_convex(self, group: Group, vector: tuple[float, ...]) -> None:
        within = all(isfinite(share) and 0 <= share <= 1 for share in vector)
        if not within or not isclose(sum(vector), 1, abs_tol=1e-6):
            raise BlendError(
                f"{self.description}, layer group {group}",
                got=f"shares {', '.join(f'{share:g}' for share in vector)}",
                expected="shares within 0..1 that sum to 1",
                remedy="correct the schedule",
            )
