"""Checks that refuse networks that cannot be blended, and blends that can only be a mistake.

A blend that equals one of its parents bit for bit is refused in two cases: two of the given networks have the same
synthesis weights, or a schedule that takes layers from several networks still gives one of them, since they differ
only in other layers. A schedule that takes every layer from one network, such as an r_swap below 4 or at the
generator's resolution, is accepted: it asks for that network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from engines.contract.errors import BlendError
from export.blending.groups import BlendSchedule
from export.weights import Array, GeneratorWeights


def synthesis_names(model: GeneratorWeights) -> list[str]:
    """Return the names of the synthesis network's tensors."""
    return [name for name in model.tensors if name.startswith("synthesis.")]


def pair_name(a: GeneratorWeights, b: GeneratorWeights) -> str:
    """Name two networks by their files."""
    return f"{a.source.path} and {b.source.path}"


def check_compatible(models: Sequence[GeneratorWeights], schedule: BlendSchedule) -> None:
    """Raise BlendError unless the networks have one architecture and the schedule is made for it."""
    if len(models) != schedule.model_count:
        raise BlendError(
            schedule.description,
            got=f"{len(models)} networks",
            expected=f"{schedule.model_count}",
            remedy="give as many checkpoints as the schedule has models",
        )
    for other in models[1:]:
        for difference in _differences(models[0], other):
            raise BlendError(
                pair_name(models[0], other),
                got=difference,
                expected="two generators of one architecture",
                remedy="blend a base with a network fine-tuned from it",
            )
    if schedule.stylegan2_only and models[0].architecture != "StyleGAN2":
        raise BlendError(
            schedule.description,
            got=f"{models[0].architecture} generators",
            expected="StyleGAN2 generators, of whose layers this schedule speaks",
            remedy="give --r-swap or a schedule of resolutions",
        )
    if {group.resolution for group in schedule.shares} != {*models[0].resolutions}:
        raise BlendError(
            schedule.description,
            got=f"a generator of {models[0].resolution}",
            expected=f"one of {max(group.resolution for group in schedule.shares)}",
            remedy="make the schedule for the generator's resolution",
        )


def check_distinct(models: Sequence[GeneratorWeights]) -> None:
    """Raise BlendError if two networks have the same synthesis weights; noise maps are not compared."""
    for a, b in combinations(models, 2):
        if _same_weights(a.tensors, b.tensors):
            raise BlendError(
                pair_name(a, b),
                got="the same synthesis weights in both",
                expected="two different networks",
                remedy="check that the right files were given",
            )


def check_differs_from_parents(
    tensors: Mapping[str, Array], models: Sequence[GeneratorWeights], schedule: BlendSchedule
) -> None:
    """Raise BlendError if a blend of several networks equals one of them."""
    for model in models:
        if len(schedule.donors) > 1 and _same_weights(tensors, model.tensors):
            raise BlendError(
                f"The blend of {', '.join(str(parent.source.path) for parent in models)} by {schedule.description}",
                got=f"the synthesis weights of {model.source.path}, bit for bit",
                expected="a network that differs from each of them",
                remedy="check the files: they differ only in layers that this schedule does not take from them",
            )


def _differences(base: GeneratorWeights, other: GeneratorWeights) -> Iterator[str]:
    if base.architecture != other.architecture:
        yield f"a {base.architecture} and a {other.architecture}"
    for size in ("resolution", "channels", "w_dim"):
        if getattr(base, size) != getattr(other, size):
            yield f"{size} {getattr(base, size)} and {getattr(other, size)}"
    base_shapes, other_shapes = (
        {(name, model.tensors[name].shape) for name in synthesis_names(model)} for model in (base, other)
    )
    for name, shape in sorted(base_shapes ^ other_shapes):
        yield f"{name} {list(shape)} in only one of them"


def _same_weights(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    names = [name for name in a if name.startswith("synthesis.") and not name.endswith(".noise")]
    return all(a[name] is b[name] or np.array_equal(a[name], b[name]) for name in names)
