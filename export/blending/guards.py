"""Refusals: networks that cannot be blended, and blends that can only be a mistake.

A blend that is one of its parents, bit for bit, is refused where that can only be a mistake: when two of the networks
given have the same synthesis weights, and when a schedule that draws on several networks still gives one of them
(they differ only in layers that it does not take). A schedule that takes every layer from one network, such as an
r_swap below 4 or at the resolution, is a request for that network and is granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from engines.contract.errors import BlendError
from export.blending.groups import BlendSchedule, group_of
from export.weights import Array, GeneratorWeights


def synthesis_names(model: GeneratorWeights) -> list[str]:
    """The tensors of the synthesis network."""
    return [name for name in model.tensors if name.startswith("synthesis.")]


def pair_of(a: GeneratorWeights, b: GeneratorWeights) -> str:
    """Two networks by their files."""
    return f"{a.source.path} and {b.source.path}"


def refuse_misfits(models: Sequence[GeneratorWeights], schedule: BlendSchedule) -> None:
    """Raise BlendError unless the networks fit each other and the schedule fits them."""
    if len(models) != schedule.models:
        raise BlendError(
            schedule.description,
            got=f"{len(models)} networks",
            expected=f"{schedule.models}",
            remedy="give as many checkpoints as the schedule has models",
        )
    for other in models[1:]:
        for difference in _differences(models[0], other):
            raise BlendError(
                pair_of(models[0], other),
                got=difference,
                expected="two generators of one architecture",
                remedy="blend a base with a network fine-tuned from it",
            )
    if {group_of(name) for name in synthesis_names(models[0])} != schedule.shares.keys():
        raise BlendError(
            schedule.description,
            got=f"a generator of {models[0].resolution}",
            expected=f"one of {max(group.resolution for group in schedule.shares)}",
            remedy="make the schedule for the generator's resolution",
        )


def refuse_twins(models: Sequence[GeneratorWeights]) -> None:
    """Raise BlendError where two networks have the same synthesis weights; noise maps do not count."""
    for a, b in combinations(models, 2):
        if _same_weights(a.tensors, b.tensors):
            raise BlendError(
                pair_of(a, b),
                got="the same synthesis weights in both",
                expected="two different networks",
                remedy="check that the right files were given",
            )


def refuse_parent(tensors: Mapping[str, Array], models: Sequence[GeneratorWeights], schedule: BlendSchedule) -> None:
    """Raise BlendError where a blend of several networks gives one of them."""
    for model in models:
        if len(schedule.donors) > 1 and _same_weights(tensors, model.tensors):
            raise BlendError(
                f"The blend of {', '.join(str(parent.source.path) for parent in models)} by {schedule.description}",
                got=f"the synthesis weights of {model.source.path}, bit for bit",
                expected="a network that differs from each of them",
                remedy="check the files: they differ only in layers that this schedule does not take",
            )


def _differences(base: GeneratorWeights, other: GeneratorWeights) -> Iterator[str]:
    for what in ("resolution", "channels", "w_dim"):
        if getattr(base, what) != getattr(other, what):
            yield f"{what} {getattr(base, what)} and {getattr(other, what)}"
    mine, its = ({(n, model.tensors[n].shape) for n in synthesis_names(model)} for model in (base, other))
    for name, shape in sorted(mine ^ its):
        yield f"{name} {list(shape)} in only one of them"


def _same_weights(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    names = [name for name in a if name.startswith("synthesis.") and not name.endswith(".noise")]
    return all(a[name] is b[name] or np.array_equal(a[name], b[name]) for name in names)
