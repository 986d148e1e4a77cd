"""Selection of the engine that runs an exported model: the fastest one that passes verification."""

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
ProgressCallback = Callable[[str], None]

TIMED_RUNS = 5


@dataclass(frozen=True)
class Candidate:
    """The result of trying an engine in a precision: its time for the first sample, and its error."""

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
    """Return the pairs of engine and precision to try for a component on this machine, in a fixed order.

    Raises:
        EngineError: no pair is left, since the machine does not fit the target or an engine is not installed.
    """
    kinds = {name: kind for name, kind in ENGINES.items() if kind.target == target and component in kind.components}
    names = [name for name in kinds if engine in ("auto", name)]
    pairs = [(name, p) for name in names if is_installed(name) for p in available_precisions(name)]
    # TensorRT takes minutes to build a plan, so it is tried in one precision only.
    requested = "fp16" if (target, precision) == ("tensorrt", "auto") else precision
    chosen = [(name, p) for name, p in pairs if requested in ("auto", p)]
    if not chosen:
        remedies = sorted({kinds[name].remedy for name in names or kinds})
        raise EngineError(
            f"{component} with --target {target} --engine {engine} --precision {precision}",
            got=f"{' and '.join(f'{name} {p}' for name, p in pairs) or 'no such engine'} on this machine",
            expected="an engine that offers it",
            remedy=f"choose another combination, or {', or '.join(remedies)}",
        )
    return chosen


def select_engine(
    model: Path,
    signature: Signature,
    samples: Sequence[Sample],
    inputs: str,
    candidates: Sequence[tuple[EngineName, Precision]],
    report: ProgressCallback,
    *,
    plans: PlanMetadata | None = None,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Try every candidate on ``model``; return the fastest one that passes, and all that were tried.

    ``inputs`` describes the samples in the manifest; ``plans`` are the model's TensorRT plans, if it has any.

    Raises:
        EngineError: no candidate can run the model.
        VerificationError: no engine's output is within its bound.
    """
    tried, failures = [], []
    for name, p in candidates:
        report(f"verifying {model.name} in {name} {p}")
        try:
            tried.append(_try_engine(model, signature, samples, inputs, name, p, plans))
        except EngineError as error:
            report(f"left out {name} {p}: {error.got}")
            failures.append(error)
    if not tried:
        raise failures[-1]
    passed = [candidate for candidate in tried if candidate.passed]
    if not passed:
        raise _verification_error(model, min(tried, key=lambda candidate: candidate.verification.mean))
    return min(passed, key=lambda candidate: candidate.milliseconds), tuple(tried)


def _try_engine(
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
        verification = verify(loaded, samples, inputs, bound)
        milliseconds = _fastest_run_ms(loaded, samples[0].inputs)
    return Candidate(engine, precision, milliseconds, verification, bound.holds(verification))


def _fastest_run_ms(engine: Engine, inputs: Mapping[str, AnyArray]) -> float:
    """Time a few runs and return the least, since other load only adds time; verification was the warm-up."""
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        engine.run(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def _verification_error(model: Path, best: Candidate) -> VerificationError:
    return VerificationError(
        f"{model.name} in {best.engine} {best.precision}",
        got=f"{best.verification} against the reference",
        expected=best.verification.bound,
        remedy="try another precision or engine; nothing was written",
    )
