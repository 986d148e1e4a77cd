"""How plans are built, as far as it can be chosen; without TensorRT, for commands on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.plan_metadata import Compatibility


@dataclass(frozen=True)
class PlanOptions:
    """What to build.

    Attributes:
        plugins: fused kernels in a generator of half precision; native layers only where False.
        one_plan: instead of a plan for each batch size, one for batches up to the largest, of native layers only.
        compatibility: which other GPUs shall run the plans, at some speed.
        timing_cache: folder of measured layer times, which make the next build fast; None = measure all.
    """

    plugins: bool = True
    one_plan: bool = False
    compatibility: Compatibility = "none"
    timing_cache: Path | None = None
