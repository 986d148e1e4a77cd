"""Blending: every tensor of the synthesis network is a convex combination of the parents' tensors.

The raw tensors of the checkpoints are blended, before any folding: the sum of squared weights that demodulation needs
does not commute with interpolation. Resampling filters are not parameters and are not blended. The combination is one
of weights, not of activations; both are called layer swapping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.contract.blends import combined
from engines.contract.errors import BlendError
from export.blending.groups import BlendSchedule, Donor, Group, Shares, group_of
from export.blending.guards import (
    check_compatible,
    check_differs_from_parents,
    check_distinct,
    pair_name,
    synthesis_names,
)
from export.blending.similarity import WeightSimilarity, weight_similarity
from export.weights import Array, GeneratorWeights, Source


@dataclass(frozen=True)
class BlendReport:
    """A description of a blend.

    Attributes:
        schedule: the options that determine the shares.
        sources: the models' files, base first.
        shares: each model's share in every layer group.
        mapping: the file from which the mapping network and w_avg are taken.
        noise: the donor of the noise maps.
        similarities: similarity of each other model's weights to the base's.
        warnings: sentences for the user, without a full stop.
    """

    schedule: str
    sources: tuple[Source, ...]
    shares: Mapping[Group, Shares]
    mapping: Source
    noise: str
    similarities: tuple[WeightSimilarity, ...]
    warnings: tuple[str, ...]

    @property
    def roles(self) -> list[tuple[str, Source]]:
        """The role and the file of each model, as a manifest states them."""
        return [("transfer" if number else "base", source) for number, source in enumerate(self.sources)]

    def as_json(self) -> dict[str, object]:
        """Return the report in JSON types: shares are lists, base first; files are named without their folders."""
        return {
            "schedule": self.schedule,
            "models": [source.path.name for source in self.sources],
            "shares": {str(group): list(shares.models) for group, shares in self.shares.items()},
            "masks": {
                str(group): [{"channels": list(mask.channels), "shares": list(mask.models)} for mask in shares.masks]
                for group, shares in self.shares.items()
                if shares.masks
            },
            "mapping": self.mapping.path.name,
            "noise": self.noise,
            "similarity": [
                {str(r): round(value, 4) for r, value in k.by_resolution.items()} for k in self.similarities
            ],
            "equal_noise": [k.equal_noise for k in self.similarities],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Blend:
    """A blended generator; tensors that come unmixed from one parent are the parent's own arrays, not copies."""

    weights: GeneratorWeights
    report: BlendReport


def blend(models: Sequence[GeneratorWeights], schedule: BlendSchedule, *, mapping: Donor | None = None) -> Blend:
    """Blend generators, base first.

    Args:
        models: as many as the schedule has shares for.
        schedule: each model's share in every layer group; see ``export.blending.schedule``.
        mapping: the donor of mapping network and w_avg; None means the schedule's donor, or the base if it has none.

    Raises:
        BlendError: the networks do not fit each other or the schedule, or the blend can only be a mistake; see
            ``export.blending.guards``.
    """
    check_compatible(models, schedule)
    check_distinct(models)
    mapping_donor = models[_mapping_index(schedule, mapping)]
    tensors = blended_synthesis(models, schedule)
    check_differs_from_parents(tensors, models, schedule)
    tensors |= {name: value for name, value in mapping_donor.tensors.items() if name.startswith("mapping.")}
    clamps = [model.conv_clamp for model in models if model.conv_clamp is not None]
    notes = tuple(dict.fromkeys(note for model in models for note in model.notes))
    report = _report(models, schedule, mapping_donor)
    # If the parents' clamps differ, the tighter one is used: the layers trained with it rely on it.
    return Blend(GeneratorWeights(tensors, _source(report), min(clamps, default=None), notes), report)


def blended_synthesis(models: Sequence[GeneratorWeights], schedule: BlendSchedule) -> dict[str, Array]:
    """Return the synthesis network's tensors of a blend of generators that fit each other and the schedule."""
    tensors = {}
    for name in synthesis_names(models[0]):
        shares = schedule.shares[group_of(name)]
        values = [model.tensors[name] for model in models]
        if name.endswith(".noise"):
            tensors[name] = values[_noise_index(schedule, shares)]
        else:
            tensors[name] = combined(values, shares.models[1:])
            if shares.masks and _has_output_channels(name):
                tensors[name] = _masked(name, tensors[name], values, shares)
    return tensors


def _has_output_channels(name: str) -> bool:
    return ".affine." not in name and not name.endswith(".noise_strength")


def _masked(name: str, unmasked: Array, values: Sequence[Array], shares: Shares) -> Array:
    masked = unmasked.copy()
    for mask in shares.masks:
        if max(mask.channels) >= len(masked):
            raise BlendError(
                f"The channel mask on {name}",
                got=f"channel {max(mask.channels)}",
                expected=f"0 to {len(masked) - 1}",
                remedy="correct the schedule",
            )
        channels = list(mask.channels)
        masked[channels] = combined([value[channels] for value in values], mask.models[1:])
    return masked


def _noise_index(schedule: BlendSchedule, shares: Shares) -> int:
    if schedule.noise == "majority":
        return shares.models.index(max(shares.models))
    return 0 if schedule.noise == "base" else 1


def _mapping_index(schedule: BlendSchedule, mapping: Donor | None) -> int:
    if mapping is not None and schedule.mapping not in (None, mapping):
        raise BlendError(
            f"{schedule.description} --mapping {mapping}",
            got="a mapping network other than the tool's",
            expected=f"--mapping {schedule.mapping}",
            remedy="leave out --mapping or --compat",
        )
    donor = mapping or schedule.mapping or "base"
    if donor == "transfer" and schedule.model_count > 2:
        raise BlendError(
            "--mapping transfer",
            got=f"{schedule.model_count} models",
            expected="one transferred model",
            remedy="give the network whose mapping network is to be kept as the base",
        )
    return 0 if donor == "base" else 1


def _report(
    models: Sequence[GeneratorWeights], schedule: BlendSchedule, mapping_donor: GeneratorWeights
) -> BlendReport:
    similarities = tuple(weight_similarity(models[0], other) for other in models[1:])
    warnings = list(schedule.warnings)
    for other, similarity in zip(models[1:], similarities, strict=True):
        warnings += similarity.warnings(pair_name(models[0], other))
    if len(schedule.donors) == 1:
        warnings.append(f"every synthesis layer comes from {models[schedule.donors[0]].source.path}")
    if mapping_donor is not models[0]:
        warnings.append(f"w_avg comes from {mapping_donor.source.path}: codes of encoders for the base are offset")
    sources = tuple(model.source for model in models)
    groups = {group_of(name) for name in synthesis_names(models[0])}
    return BlendReport(
        schedule.description,
        sources,
        {group: shares for group, shares in schedule.shares.items() if group in groups},
        mapping_donor.source,
        schedule.noise,
        similarities,
        tuple(warnings),
    )


def _source(report: BlendReport) -> Source:
    recipe = [str(report.shares), report.noise, report.mapping.sha256, *(source.sha256 for source in report.sources)]
    path = Path("+".join(source.path.name for source in report.sources))
    return Source(path, "blend", hashlib.sha256("\n".join(recipe).encode()).hexdigest())
