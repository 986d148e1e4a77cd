"""A live generator of two tiny networks, and the exported blends of the same two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from generators import random_generator, random_sibling

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Geometry, generator_signature
from export.blending import BlendSchedule, blend, schedule_from_options
from export.blending.live import live_parents, live_shares
from export.graphs.generator import onnx_from_generator
from export.graphs.live_generator import onnx_from_live_generator
from export.networks.generator import generator_from_weights
from export.weights import GeneratorWeights

W_DIM = 16


@dataclass(frozen=True)
class LivePair:
    """Two networks of one resolution, and the ONNX file that holds both."""

    base: GeneratorWeights
    transfer: GeneratorWeights
    folder: Path

    @property
    def resolution(self) -> int:
        return self.base.resolution

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.resolution, W_DIM, live=True)

    @property
    def live(self) -> Path:
        """The live generator's file."""
        path = self.folder / "live.onnx"
        if not path.exists():
            schedule = schedule_from_options(self.resolution, r_swap=4)
            models = [self.base, self.transfer]
            parents = live_parents(models, schedule, blend(models, schedule))
            networks = (generator_from_weights(parent) for parent in parents)
            onnx.save(onnx_from_live_generator(*networks, generator_signature(self.geometry)), path)
        return path

    def exported(self, schedule: BlendSchedule) -> tuple[Path, AnyArray]:
        """Return the file of the blend by a schedule, and its shares [G] for the live generator."""
        path = self.folder / f"{schedule.description}.onnx"
        if not path.exists():
            network = generator_from_weights(blend([self.base, self.transfer], schedule).weights)
            onnx.save(onnx_from_generator(network, generator_signature(Geometry(self.resolution, W_DIM))), path)
        return path, np.array(live_shares(schedule, self.resolution), np.float32)


def live_pair(folder: Path, resolution: int, *, conv_clamp: float | None = None) -> LivePair:
    """Two related networks of odd widths, of which the second one's noise maps differ."""
    widths = dict(zip((4, 8, 16, 32, 64), (12, 10, 7, 5, 6), strict=True))
    channels = {size: width for size, width in widths.items() if size <= resolution}
    base = random_generator(resolution, channels, conv_clamp=conv_clamp)
    sibling = random_sibling(base, strength=1.0)
    flipped = {name: value[::-1].copy() for name, value in sibling.tensors.items() if name.endswith(".noise")}
    return LivePair(base, replace(sibling, tensors={**sibling.tensors, **flipped}), folder)


def hard_swaps(resolution: int) -> list[BlendSchedule]:
    """Every hard swap, from the base to the transferred model."""
    return [schedule_from_options(resolution, r_swap=2 << level) for level in range(resolution.bit_length() - 1)]
