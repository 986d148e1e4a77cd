"""What a live model can blend: its default's shares at each resolution, and what its parents have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engines.contract.blends import TransferShares
from engines.contract.errors import BlendError
from engines.contract.tensors import resolutions_to
from export.blending.blend import Blend
from export.blending.groups import PARTS, BlendSchedule, Group, Shares
from export.weights import GeneratorWeights


def live_schedule(schedule: BlendSchedule, models: int) -> BlendSchedule:
    """Return a schedule for this many models, of which those that ``schedule`` does not have get no share."""
    more = (0.0,) * (models - schedule.model_count)
    shares = {group: Shares((*own.models, *more), own.masks) for group, own in schedule.shares.items()}
    return replace(schedule, shares=shares)


def live_names(models: Sequence[GeneratorWeights]) -> tuple[str, ...]:
    """Return the names by which requests choose a transferred model: those of the files, without their ends.

    Raises:
        BlendError: two of them are equal.
    """
    names = [re.sub(r"[^A-Za-z0-9_.-]+", "-", model.source.path.stem) for model in models[1:]]
    for name in names:
        if names.count(name) > 1:
            raise BlendError(
                "The models with --live",
                got=f"{names.count(name)} files named {name}",
                expected="a name of its own for each, by which requests choose it",
                remedy="rename all of them but one",
            )
    return tuple(names)


def live_shares(schedule: BlendSchedule, resolution: int) -> list[TransferShares]:
    """Return the transferred models' shares at each resolution of a generator, lowest first.

    Raises:
        BlendError: layers of one resolution or channels of one layer have different shares.
    """
    shares = []
    for size in resolutions_to(resolution):
        parts = [schedule.shares[Group(size, part)] for part in PARTS]
        own = {part.models[1:] for part in parts}
        if len(own) > 1 or any(part.masks for part in parts):
            raise _not_live(schedule, f"layers of {size}x{size} with different shares", "one share for each resolution")
        shares.append(tuple(float(np.float32(share)) for share in own.pop()))
    return shares


def live_parents(models: Sequence[GeneratorWeights], schedule: BlendSchedule, blended: Blend) -> list[GeneratorWeights]:
    """Return the models, base first, with what all blends have in common: mapping, noise maps and clamp.

    Raises:
        BlendError: the models are no StyleGAN2 generators, or the noise maps differ and come from the model with the
            greater share, so that they depend on it.
    """
    if models[0].architecture != "StyleGAN2":
        raise _not_live(schedule, f"{models[0].architecture} generators", "StyleGAN2 generators")
    noise = {name: value for name, value in blended.weights.tensors.items() if name.endswith(".noise")}
    if schedule.noise == "majority" and not all(
        np.array_equal(model.tensors[name], value) for model in models for name, value in noise.items()
    ):
        raise _not_live(schedule, "noise maps that depend on the shares", "the same noise maps for all blends")
    mapping = {name: value for name, value in blended.weights.tensors.items() if name.startswith("mapping.")}
    return [
        replace(
            model,
            tensors={
                **{name: value for name, value in model.tensors.items() if name.startswith("synthesis.")},
                **noise,
                **mapping,
            },
            conv_clamp=blended.weights.conv_clamp,
        )
        for model in models
    ]


def _not_live(schedule: BlendSchedule, got: str, expected: str) -> BlendError:
    return BlendError(
        f"{schedule.description} --live", got=got, expected=expected, remedy="leave out --live to export this blend"
    )
