"""The interface of all engines: named arrays in, named arrays out, closed after use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.blends import check_blend, rows_by_blend
from engines.contract.checks import check_tensors
from engines.contract.closing import Closing, ContextManager
from engines.contract.errors import EngineError
from engines.contract.tensors import BLEND, Signature

if TYPE_CHECKING:
    # Not imported at run time: they need pydantic, which the PyTorch engine does not.
    from engines.model_directory import Precision
    from engines.plan_metadata import PlanMetadata
    from engines.rtx_metadata import RtxMetadata


class Engine(ContextManager, Protocol):
    """A loaded model; use it in a ``with`` block.

    ``run`` returns arrays that the caller owns. One engine serves one thread at a time.
    """

    @property
    def signature(self) -> Signature: ...

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run one batch.

        Raises:
            EngineError: a tensor is missing or unknown, or its dtype or shape differs from the signature.
            RequestError: a live generator's ``blend`` is no blend; see ``engines.contract.blends.check_blend``.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class EngineOptions:
    """Options for loading an engine.

    Attributes:
        precision: the arithmetic's precision.
        threads: the number of threads of an engine on a CPU; 0 uses every core.
        cache: the folder where an engine that compiles models keeps them for the next load.
        plans: metadata of the plans of TensorRT, or of TensorRT for RTX, beside the model.
        hashes: the SHA-256 of files beside the model by name, for an engine that reads a file as a whole by itself.
        opened: where to open the model's file instead, if it has been opened and hashed.
    """

    precision: Precision = "fp32"
    threads: int = 0
    cache: Path | None = None
    plans: PlanMetadata | RtxMetadata | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    opened: Path | None = None


class BaseEngine(Closing):
    """Input checks and the ``with`` protocol, shared by the engines."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        blend = self.signature.blend
        if blend and BLEND in inputs:
            check_blend(inputs[BLEND], blend)
        check_tensors(self.signature, inputs, EngineError, whole="engine input", part="engine input")
        arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        return self._run_by_blend(arrays) if blend else self._run(arrays)

    def _run_by_blend(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the rows of each blend as a batch of their own: one run has one set of weights."""
        groups = rows_by_blend(inputs[BLEND])
        if len(groups) == 1:
            return self._run(inputs)
        parts = [self._run({name: value[rows] for name, value in inputs.items()}) for rows in groups]
        order = np.argsort(np.concatenate(groups))
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts])[order] for spec in self.signature.outputs
        }

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Run checked inputs; a live generator's all have the same blend."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the engine's resources; an engine of Python objects alone has none."""


class RowByRow(BaseEngine):
    """Runs an engine, which it closes, for one row of a batch after the other.

    Libraries round a row's products otherwise in a larger batch. A mapping network runs so, which costs 0.1 ms a row:
    a seed then stands for the same code in every batch.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.signature)
        self._engine = engine

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        count = len(next(iter(inputs.values())))
        rows = [self._engine.run({name: value[i : i + 1] for name, value in inputs.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def close(self) -> None:
        self._engine.close()
