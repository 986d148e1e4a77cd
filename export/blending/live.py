"""What a live model can blend: its default's share at each resolution, and what its parents have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engines.contract.errors import BlendError
from engines.contract.tensors import resolutions_to
from export.blending.blend import Blend
from export.blending.groups import PARTS, BlendSchedule, Group
from export.weights import GeneratorWeights


def live_shares(schedule: BlendSchedule, resolution: int) -> tuple[float, ...]:
    """Return the transferred model's share at each resolution of a generator.

    Raises:
        BlendError: the schedule has more than two models, or layers of one resolution or channels of one layer have
            different shares.
    """
    if schedule.model_count != 2:
        raise _not_live(schedule, f"{schedule.model_count} models", "two, a base and one transferred model")
    shares = []
    for size in resolutions_to(resolution):
        groups = [schedule.shares[Group(size, part)] for part in PARTS]
        own = {group.models[1] for group in groups}
        if len(own) > 1 or any(group.masks for group in groups):
            raise _not_live(schedule, f"layers of {size}x{size} with different shares", "one share for each resolution")
        shares.append(float(np.float32(own.pop())))
    return tuple(shares)


def live_parents(
    models: Sequence[GeneratorWeights], schedule: BlendSchedule, blended: Blend
) -> tuple[GeneratorWeights, GeneratorWeights]:
    """Return base and transferred model with what all blends have in common: mapping, noise maps and clamp.

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
    base, transfer = (
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
    )
    return base, transfer


def _not_live(schedule: BlendSchedule, got: str, expected: str) -> BlendError:
    return BlendError(
        f"{schedule.description} --live", got=got, expected=expected, remedy="leave out --live to export this blend"
    )
