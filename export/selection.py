"""Selection of the engine that runs an exported model: the fastest one that passes verification."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines import Engine, engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError, VerificationError
from engines.contract.tensors import Signature
from engines.model_directory import EngineName, Precision, Verification
from engines.plan_metadata import PlanMetadata
from engines.rtx_metadata import RtxMetadata
from export.verification import Sample, bound_for, error_of

ProgressCallback = Callable[[str], None]

MIN_ROUNDS, ROUND_SECONDS = 3, 1.0
"""How often and for how long the candidates that are left are timed, one run of each in a round."""

TOO_SLOW = 2.0
"""A candidate that takes this many times the fastest one's time is given up."""

SIMILAR = 1.1
"""Among candidates within this many times the least time, and then within as many times the least processor time, the
most exact one is chosen. Beside two busy processes the least times of winograd in fp32 had 0.96 to 1.5 times those in
int16, over rounds of a second, and the least processor times 1.16 to 1.26 times, as on a quiet machine. Engines of
different kinds cannot be compared by processor time alone, since some of them wait busily or use fewer cores."""

SECOND_CHANCE = 0.5
"""Seconds in which a candidate that seems too slow is run again, at least once: the machine may have been busy."""


@dataclass(frozen=True)
class Candidate:
    """The result of trying an engine in a precision: its least times for the first sample, and its error."""

    engine: EngineName
    precision: Precision
    milliseconds: float
    processor_milliseconds: float
    verification: Verification
    passed: bool

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verification": self.verification.model_dump()}


def select_engine(
    model: Path,
    signature: Signature,
    samples: Sequence[Sample],
    inputs: str,
    candidates: Sequence[tuple[EngineName, Precision]],
    report: ProgressCallback,
    *,
    plans: PlanMetadata | RtxMetadata | None = None,
    known: tuple[EngineName, Precision] | None = None,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Try the candidates on ``model``; return the one to use, and all that were tried.

    The fastest one that passes is chosen, or the most exact of those that are about as fast.

    Candidates that are nearly as fast as the fastest are timed in rounds, one run of each in turn, so that a moment in
    which the machine is busy decides nothing.

    Args:
        model: the ONNX file.
        signature: its inputs and output.
        samples: the reference's inputs and outputs; the first one is timed.
        inputs: describes the samples in the manifest.
        candidates: see ``export.targets.candidates_for``.
        report: called with a phrase at every stage.
        plans: the model's plans of TensorRT, or of TensorRT for RTX, if it has any.
        known: the candidate that was the fastest for such a model on this machine; if it passes, no other is tried.

    Raises:
        EngineError: no candidate can run the model.
        VerificationError: no engine's output is within its bound.
    """
    trials: list[_Trial] = []
    failures: list[EngineError] = []
    try:
        for pair in sorted(candidates, key=lambda pair: pair != known):
            report(f"verifying {model.name} in {' '.join(pair)}")
            try:
                engine = engine_from_onnx(model, signature, *pair, plans=plans)
                trials.append(_Trial(pair, engine, samples, inputs, fastest=_fastest(trials)))
                del engine  # so that closing the trial frees it
            except EngineError as error:
                report(f"left out {' '.join(pair)}: {error.got}")
                failures.append(error)
                continue
            if pair == known and trials[-1].passed:
                break
            _close_slow(trials)
        _time_in_rounds([trial for trial in trials if trial.is_open])
    finally:
        for trial in trials:
            trial.close()
    results = [trial.result for trial in trials]
    if not results:
        raise failures[-1]
    passed = [candidate for candidate in results if candidate.passed]
    if not passed:
        raise verification_error(model, min(results, key=lambda candidate: candidate.verification.mean))
    fastest = min(candidate.milliseconds for candidate in passed)
    similar = [candidate for candidate in passed if candidate.milliseconds <= SIMILAR * fastest]
    least = min(candidate.processor_milliseconds for candidate in similar)
    similar = [candidate for candidate in similar if candidate.processor_milliseconds <= SIMILAR * least]
    return min(similar, key=lambda candidate: candidate.verification.mean), tuple(results)


class _Trial:
    """An engine that is tried: its least time for the first sample in milliseconds, and its error.

    It is verified over all samples; one that is slow beside ``fastest``, in milliseconds, over the first one only.
    """

    def __init__(
        self,
        pair: tuple[EngineName, Precision],
        engine: Engine,
        samples: Sequence[Sample],
        inputs: str,
        *,
        fastest: float,
    ) -> None:
        self._pair, self._samples = pair, samples
        self._engine: Engine | None = engine
        (self._output,) = engine.signature.outputs
        self.milliseconds = self.processor_milliseconds = math.inf
        with ExitStack() as failure:
            failure.callback(self.close)
            outputs = [self.time_run()]
            if self.is_slow(fastest):
                inputs = f"the first of {inputs}"
            else:
                outputs += [engine.run(sample.inputs)[self._output.name] for sample in samples[1:]]
            failure.pop_all()
        bound = bound_for(self._output.dtype, pair[1])
        self._verification = error_of(outputs, samples[: len(outputs)], inputs, bound)
        self.passed = bound.holds(self._verification)
        if len(outputs) < len(samples):
            self.close()

    @property
    def result(self) -> Candidate:
        times = self.milliseconds, self.processor_milliseconds
        return Candidate(*self._pair, *times, self._verification, self.passed)

    @property
    def is_open(self) -> bool:
        return self._engine is not None

    def is_slow(self, fastest: float) -> bool:
        """Whether the engine is slow beside the fastest, after some more runs if it seemed so."""
        end = time.perf_counter() + SECOND_CHANCE
        while self.milliseconds > TOO_SLOW * fastest and self.is_open:
            self.time_run()
            if time.perf_counter() > end:
                break
        return self.milliseconds > TOO_SLOW * fastest

    def time_run(self) -> AnyArray:
        """Run the first sample. Other load only adds time, and the first run more, so the least times count."""
        assert self._engine is not None
        start, processor_start = time.perf_counter(), time.process_time()
        output = self._engine.run(self._samples[0].inputs)[self._output.name]
        self.milliseconds = min(self.milliseconds, 1e3 * (time.perf_counter() - start))
        processor_milliseconds = 1e3 * (time.process_time() - processor_start)
        self.processor_milliseconds = min(self.processor_milliseconds, processor_milliseconds)
        return output

    def close(self) -> None:
        """Close the engine and forget it, as some free their memory only then."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _fastest(trials: Sequence[_Trial]) -> float:
    return min((trial.milliseconds for trial in trials if trial.passed), default=math.inf)


def _close_slow(trials: Sequence[_Trial]) -> None:
    """Close the engines that cannot be chosen any more, so that few are in memory at once."""
    fastest = _fastest(trials)
    for trial in trials:
        if not trial.passed or trial.is_slow(fastest):
            trial.close()


def _time_in_rounds(trials: Sequence[_Trial]) -> None:
    """Time the candidates that are left, one run of each in a round; a single one has nothing to be compared with."""
    if len(trials) < 2:
        return
    end, rounds = time.perf_counter() + ROUND_SECONDS, 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for trial in trials:
            trial.time_run()


def verification_error(model: Path, best: Candidate) -> VerificationError:
    """The error about a model of which no candidate is within its bound."""
    return VerificationError(
        f"{model.name} in {best.engine} {best.precision}",
        got=f"{best.verification} against the reference",
        expected=best.verification.bound,
        remedy="try another precision or engine; nothing was written",
    )
