"""What every engine is: named arrays in, named arrays out, closed when done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.checks import check_tensors
from engines.contract.closing import Closing, ContextManager
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature

if TYPE_CHECKING:
    # Not imported: both need pydantic, and an engine in PyTorch does without.
    from engines.model_directory import Precision
    from engines.plan_metadata import PlanMetadata


class Engine(ContextManager, Protocol):
    """A loaded model; use it in a ``with`` block.

    ``run`` returns arrays that the caller owns. One engine serves one thread at a time.
    """

    @property
    def signature(self) -> Signature: ...

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run one batch.

        Raises:
            EngineError: a tensor is missing, unknown, or has another dtype or shape than the signature says.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is loaded.

    Attributes:
        precision: of its arithmetic.
        threads: of engines on a CPU; 0 takes every core.
        cache: folder of compiled models for the next load, for engines that have them.
        plans: what TensorRT built of the model, beside it.
    """

    precision: Precision = "fp32"
    threads: int = 0
    cache: Path | None = None
    plans: PlanMetadata | None = None


class BaseEngine(Closing):
    """Input checks and the ``with`` protocol, shared by the engines."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        check_tensors(self.signature, inputs, EngineError, whole="engine input", part="engine input")
        return self._run({name: np.ascontiguousarray(value) for name, value in inputs.items()})

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        raise NotImplementedError

    def close(self) -> None:
        """Release what the engine holds; engines of pure Python objects have nothing to release."""
