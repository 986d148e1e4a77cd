"""A live generator of two or more tiny networks, and the exported blends of the same networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from generators import random_generator, random_sibling

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Geometry, Signature, generator_signature
from export.blending import BlendSchedule, blend, schedule_from_options
from export.blending.groups import Shares, groups_of
from export.blending.live import live_parents, live_schedule, live_shares
from export.graphs.generator import onnx_from_generator
from export.graphs.live_generator import onnx_from_live_generator
from export.networks.generator import generator_from_weights
from export.weights import GeneratorWeights

W_DIM = 16


@dataclass(frozen=True)
class LiveFamily:
    """Networks of one resolution, base first, and the ONNX file that holds them all."""

    models: tuple[GeneratorWeights, ...]
    folder: Path

    @property
    def base(self) -> GeneratorWeights:
        return self.models[0]

    @property
    def transfer(self) -> GeneratorWeights:
        return self.models[1]

    @property
    def resolution(self) -> int:
        return self.base.resolution

    @property
    def transferred(self) -> int:
        return len(self.models) - 1

    @property
    def signature(self) -> Signature:
        """The live generator's."""
        return generator_signature(Geometry(self.resolution, W_DIM, transferred=self.transferred))

    @property
    def live(self) -> Path:
        """The live generator's file."""
        path = self.folder / "live.onnx"
        if not path.exists():
            schedule = live_schedule(schedule_from_options(self.resolution, r_swap=4), len(self.models))
            parents = live_parents(self.models, schedule, blend(self.models, schedule))
            networks = [generator_from_weights(parent) for parent in parents]
            onnx.save(onnx_from_live_generator(networks, self.signature), path)
        return path

    def exported(self, schedule: BlendSchedule) -> tuple[Path, AnyArray]:
        """Return the file of the blend by a schedule, and its shares [G] or [G, T] for the live generator."""
        schedule = live_schedule(schedule, len(self.models))
        path = self.folder / f"{schedule.description}.onnx"
        if not path.exists():
            network = generator_from_weights(blend(self.models, schedule).weights)
            onnx.save(onnx_from_generator(network, generator_signature(Geometry(self.resolution, W_DIM))), path)
        assert self.signature.blend is not None
        return path, np.array(live_shares(schedule, self.resolution), np.float32).reshape(self.signature.blend.dims)

    def hard_swaps(self) -> list[BlendSchedule]:
        """The base, and every hard swap to each transferred model."""
        return [hard_swaps(self.resolution)[0]] + [
            _of_model(schedule, number, len(self.models))
            for number in range(1, len(self.models))
            for schedule in hard_swaps(self.resolution)[1:]
        ]

    def smooth_schedules(self) -> list[BlendSchedule]:
        """Smooth schedules of two models, and one in which all models have a part everywhere."""
        rules = {"sigmoid:8,1": False, "linear:4,32": True, "sigmoid:16,0.05": False}
        of_two = [schedule_from_options(self.resolution, schedule=rule, reverse=back) for rule, back in rules.items()]
        parts = np.arange(len(self.models), 0, -1)
        groups = groups_of(self.resolution)
        shares = {group: Shares(tuple(parts**group.level / (parts**group.level).sum())) for group in groups}
        return [*of_two, BlendSchedule("all models", shares)]


def _of_model(schedule: BlendSchedule, number: int, count: int) -> BlendSchedule:
    """Return a schedule of two models as one of ``count``, whose transferred model is that of a number."""
    shares = {
        group: Shares(tuple({0: own.models[0], number: own.models[1]}.get(index, 0.0) for index in range(count)))
        for group, own in schedule.shares.items()
    }
    return replace(schedule, description=f"{schedule.description} of model {number}", shares=shares)


def live_family(folder: Path, resolution: int, *, conv_clamp: float | None = None, transferred: int = 1) -> LiveFamily:
    """Related networks of odd widths; the noise maps of the first transferred one differ."""
    widths = dict(zip((4, 8, 16, 32, 64), (12, 10, 7, 5, 6), strict=True))
    channels = {size: width for size, width in widths.items() if size <= resolution}
    base = random_generator(resolution, channels, conv_clamp=conv_clamp)
    siblings = [random_sibling(base, 1 + number, strength=1.0) for number in range(transferred)]
    noise = {name: value[::-1].copy() for name, value in siblings[0].tensors.items() if name.endswith(".noise")}
    siblings[0] = replace(siblings[0], tensors={**siblings[0].tensors, **noise})
    return LiveFamily((base, *siblings), folder)


def hard_swaps(resolution: int) -> list[BlendSchedule]:
    """Every hard swap, from the base to the transferred model."""
    return [schedule_from_options(resolution, r_swap=2 << level) for level in range(resolution.bit_length() - 1)]
