"""The cases of the kernels' tests on this machine's GPU."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import torch

from benchmarks import machine
from engines.torch.engine import resolve_device

MAX_INTERPRETED_CASES = 2
"""Number of cases that run in Triton's interpreter, where there is no GPU."""


class KernelCases:
    """The cases; lives in a process of its own, since a fault in a kernel ends every use of the GPU in its process."""

    def __init__(self, device: str) -> None:
        self._device = resolve_device(device).type
        sys.path.insert(0, str(machine.ROOT / "tests/helpers"))
        self._cases: Any = import_module("kernel_cases")

    def names(self) -> list[str]:
        """Names of the cases; the large ones, and those that NVIDIA's driver launches, only where there is a GPU."""
        cases = self._cases
        if self._device != "cuda":
            return list(cases.CASES)[:MAX_INTERPRETED_CASES]
        names = [*cases.CASES, *cases.LARGE_CASES]
        return names + [cases.AHEAD_OF_TIME + name for name in names]

    def failure(self, case: str) -> str:
        """Errors of a kernel that are more than twice those of plain half precision; "" where there are none."""
        with torch.inference_mode():
            errors = self._cases.run_case(case, self._device)
        return "; ".join(
            f"{e.output}: {e.kernel:.3g}, half precision {e.half:.3g}" for e in errors if not e.kernel <= 2 * e.half
        )
