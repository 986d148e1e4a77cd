"""A live model of two random networks, and two exported blends of the same networks in the same engine."""

from __future__ import annotations

from benchmarks.networks import SEED, BenchmarkModels, Report, generator_weights

LIVE = "live"
FIRST_SWAP, SECOND_SWAP = 16, 8
"""The exported blends; both are of every scale that is measured, the first one is the live model's default."""

STRENGTH = 0.3
"""How far the transferred model's weights are from the base's, relative to their size."""


def blend_name(r_swap: int) -> str:
    """The stage and the folder of an exported blend."""
    return f"blend_r{r_swap}"


def build_live(models: BenchmarkModels, report: Report) -> None:
    """Export the live model in its fastest engine, and the blends in the same one, where they do not exist yet.

    Raises:
        VerificationError: an exported model differs from PyTorch.
    """
    from engines.model_directory import read_manifest
    from export.blending import blend, schedule_from_options
    from export.build import build_generator
    from export.live import build_live_generator
    from export.random_weights import random_sibling
    from export.targets import ExportOptions

    base = generator_weights(models.scale)
    parents = [base, random_sibling(base, SEED + 1, STRENGTH)]
    schedules = {swap: schedule_from_options(base.resolution, r_swap=swap) for swap in (FIRST_SWAP, SECOND_SWAP)}
    if not models.directory(LIVE).exists():
        default = schedules[FIRST_SWAP]
        options = ExportOptions(models.directory(LIVE), LIVE)
        build_live_generator(parents, default, blend(parents, default), options, report)
    live = read_manifest(models.directory(LIVE))
    for swap, schedule in schedules.items():
        name = blend_name(swap)
        if not models.directory(name).exists():
            options = ExportOptions(models.directory(name), name, engine=live.engine, precision=live.precision)  # type: ignore[arg-type]
            build_generator(blend(parents, schedule).weights, [], options, report)
