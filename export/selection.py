"""Which engine runs an exported model: the fastest one whose output is verified."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engines import Engine, engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError, VerificationError
from engines.contract.tensors import Signature
from engines.loading import ENGINES, Target, available_precisions, is_installed
from engines.model_directory import Component, EngineName, Precision, Verification
from engines.plan_metadata import PlanMetadata
from export.verification import Sample, bound_for, verify

EngineChoice = Literal["auto", "onnxruntime", "openvino", "winograd"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16", "int16"]
Report = Callable[[str], None]

TIMED_RUNS = 5


@dataclass(frozen=True)
class Candidate:
    """An engine and a precision that were tried."""

    engine: EngineName
    precision: Precision
    milliseconds: float
    verification: Verification
    passed: bool

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verification": self.verification.model_dump()}


def candidates_for(
    component: Component, target: Target, engine: EngineChoice, precision: PrecisionChoice
) -> list[tuple[EngineName, Precision]]:
    """The pairs to try for a component on this machine, in a fixed order.

    Raises:
        EngineError: the machine is not of the target's kind, an engine is not installed, or nothing is left to choose.
    """
    kinds = {name: kind for name, kind in ENGINES.items() if kind.target == target and component in kind.components}
    names = [name for name in kinds if engine in ("auto", name)]
    pairs = [(name, p) for name in names if is_installed(name) for p in available_precisions(name)]
    # TensorRT takes minutes for a plan: it is built in one precision only.
    wanted = "fp16" if (target, precision) == ("tensorrt", "auto") else precision
    chosen = [(name, p) for name, p in pairs if wanted in ("auto", p)]
    if not chosen:
        remedies = sorted({kinds[name].remedy for name in names or kinds})
        raise EngineError(
            f"{component} with --target {target} --engine {engine} --precision {precision}",
            got=f"{' and '.join(f'{name} {p}' for name, p in pairs) or 'no such engine'} on this machine",
            expected="an engine that offers it",
            remedy=f"choose otherwise, or {', or '.join(remedies)}",
        )
    return chosen


def select_engine(
    model: Path,
    signature: Signature,
    samples: Sequence[Sample],
    inputs: str,
    candidates: Sequence[tuple[EngineName, Precision]],
    report: Report,
    *,
    plans: PlanMetadata | None = None,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Try every candidate on ``model``; return the fastest verified one, and all that were tried.

    ``plans`` are what TensorRT built of the model.

    Raises:
        EngineError: no candidate can run the model.
        VerificationError: no engine's output is within its bound.
    """
    tried, failures = [], []
    for name, p in candidates:
        report(f"verifying {model.name} in {name} {p}")
        try:
            tried.append(_tried(model, signature, samples, inputs, name, p, plans))
        except EngineError as error:
            report(f"left out {name} {p}: {error.got}")
            failures.append(error)
    if not tried:
        raise failures[-1]
    passed = [candidate for candidate in tried if candidate.passed]
    if not passed:
        raise _failure(model, min(tried, key=lambda candidate: candidate.verification.mean))
    return min(passed, key=lambda candidate: candidate.milliseconds), tuple(tried)


def _tried(
    model: Path,
    signature: Signature,
    samples: Sequence[Sample],
    inputs: str,
    engine: EngineName,
    precision: Precision,
    plans: PlanMetadata | None,
) -> Candidate:
    bound = bound_for(signature.outputs[0].dtype, precision)
    with engine_from_onnx(model, signature, engine, precision, plans=plans) as loaded:
        found = verify(loaded, samples, inputs, bound)
        milliseconds = _milliseconds(loaded, samples[0].inputs)
    return Candidate(engine, precision, milliseconds, found, bound.holds(found))


def _milliseconds(engine: Engine, inputs: Mapping[str, AnyArray]) -> float:
    """The least of a few runs: others on the machine only add to it. The verification before it was the warm-up."""
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        engine.run(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def _failure(model: Path, best: Candidate) -> VerificationError:
    return VerificationError(
        f"{model.name} in {best.engine} {best.precision}",
        got=f"{best.verification} against the reference",
        expected=best.verification.bound,
        remedy="try another precision or engine; nothing was written",
    )
