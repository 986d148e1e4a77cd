"""Build options of TensorRT plans. The module needs no TensorRT, so that commands can import it on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.plan_metadata import Compatibility


@dataclass(frozen=True)
class PlanOptions:
    """The options of a plan's build.

    Attributes:
        plugins: whether a generator in half precision uses fused kernels; False = native layers only.
        one_plan: whether to build one plan of native layers for batches up to the largest, instead of a plan for each
            batch size.
        compatibility: the other GPUs that the plans must run on, at a loss of speed.
        timing_cache: the folder of measured layer times, which speed up the next build; None = measure all.
    """

    plugins: bool = True
    one_plan: bool = False
    compatibility: Compatibility = "none"
    timing_cache: Path | None = None
