"""Building a live generator's model directory: one ONNX file with all parents, verified at every hard swap.

Every request chooses the transferred models' shares at each resolution, so that only those schedules can be its default
that have one share for all layers of a resolution. Mapping, noise maps and clamp are the same for all blends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import numpy as np
import onnx
from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.contract.blends import TransferShares, shares_by_resolution
from engines.contract.tensors import Signature, generator_signature, resolutions_to
from engines.model_directory import LiveBlend, Manifest, Sizes
from export.blending import Blend, BlendSchedule
from export.blending.blend import blended_synthesis
from export.blending.groups import Shares, groups_of
from export.blending.live import live_names, live_parents, live_shares
from export.build import generator_details, mapping_writer
from export.cutting import cut_generator
from export.directory import Job, build_directory
from export.graphs.live_generator import onnx_from_live_generator
from export.networks.generator import Generator, generator_from_weights, picture_from_output
from export.selection import ProgressCallback
from export.targets import ExportOptions
from export.verification import blends_to_verify, seeded_codes
from export.weights import GeneratorWeights


def build_live_generator(
    models: Sequence[GeneratorWeights],
    schedule: BlendSchedule,
    blended: Blend,
    options: ExportOptions,
    report: ProgressCallback,
    *,
    resolution: int | None = None,
) -> Manifest:
    """Export the parents of a blend as one model, or their layers up to a resolution.

    Args:
        models: the base and the transferred models.
        schedule: the blend of requests that give none, with a share for each model.
        blended: the models' blend by the schedule.
        options: the directory to write, and the engine.
        report: called with a phrase at every stage.
        resolution: side of the pictures in pixels, one of the models'; None means the largest.

    Raises:
        BlendError: two transferred models have one name, or the schedule is not one share for each resolution.
        ExportError: the directory already exists, or the models have no pictures of that size.
        EngineError: no engine on this machine runs live generators.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    size = resolution or blended.weights.resolution
    shares = live_shares(schedule, blended.weights.resolution)[: len(resolutions_to(size))]
    kept = cut_generator(blended.weights, size)
    parents = [cut_generator(parent, size) for parent in live_parents(models, schedule, blended)]
    rows = blended.weights.rows if size < blended.weights.resolution else None
    sizes = Sizes(resolution=size, w_dim=kept.w_dim, rows=rows)
    live = LiveBlend(resolutions=resolutions_to(size), default=tuple(chain(*shares)), models=live_names(models))
    signature = generator_signature(replace(sizes.geometry, transferred=len(live.models)))
    generator = generator_from_weights(kept)
    codes = seeded_codes(generator, blended.weights.rows)
    job = Job(
        "generator",
        sizes,
        signature,
        blended.report.roles,
        generator_details(blended.weights, kept, generator, codes) | {"blend": blended.report.as_json()},
        "seeded codes, psi 1 to 0.5, the default blend, every hard swap and a smooth blend",
        live,
        _verified_blends(live.default, signature),
    )

    def export() -> onnx.ModelProto:
        return onnx_from_live_generator([generator_from_weights(parent) for parent in parents], signature)

    more = mapping_writer(blended.weights, generator, job, options, report)
    return build_directory(job, LiveReference(parents), export, options, report, codes, add_more=more)


def _verified_blends(default: Sequence[float], signature: Signature) -> AnyArray:
    """Return the blends at which a live generator is verified, [K, G] or [K, G, T]; it is timed at the first one."""
    assert signature.blend is not None
    first = np.array(default, np.float32).reshape(signature.blend.dims)
    others = [blend for blend in blends_to_verify(first.shape) if not np.array_equal(blend, first)]
    return np.stack([first, *others])


class LiveReference:
    """The blend of generators in PyTorch, base first: (w, psi, blend) -> pictures, for one row at a time."""

    def __init__(self, parents: Sequence[GeneratorWeights]) -> None:
        self._parents = parents
        self._generator = lru_cache(maxsize=1)(self._blended)

    def __call__(self, w: Tensor, psi: Tensor, blend: Tensor) -> Tensor:
        return picture_from_output(self._generator(*shares_by_resolution(blend[0].numpy()))(w, psi))

    def _blended(self, *blend: TransferShares) -> Generator:
        base = self._parents[0]
        by_resolution = dict(zip(base.resolutions, blend, strict=True))
        groups = {group: _with_base(by_resolution[group.resolution]) for group in groups_of(base.resolution)}
        tensors = blended_synthesis(self._parents, BlendSchedule("blend", groups))
        return generator_from_weights(replace(base, tensors={**base.tensors, **tensors}))


def _with_base(shares: TransferShares) -> Shares:
    return Shares((max(1 - sum(shares), 0.0), *shares))
