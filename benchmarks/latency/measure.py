"""The latency measurement: every round times each case of a group once, in alternating order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.latency.cases import BenchmarkCase, Group
from benchmarks.latency.microbenchmarks import MICROBENCHMARKS
from benchmarks.latency.remote_engine import RemoteEngine, TimedCalls
from benchmarks.latency.rows import LatencyRow
from benchmarks.latency.subjects import open_subject, prepare
from benchmarks.networks import BenchmarkModels, signature_of
from benchmarks.records import Status
from benchmarks.reference import ReferenceData
from benchmarks.rounds import alternating, percentiles, text_of_medians
from engines.model_directory import Verification
from engines.openvino.engine import supports_bf16
from export.verification import Bound, verify

SETTLE = 0.05
"""Seconds of rest between two cases, in which the libraries' idle threads stop spinning."""

Step = Callable[[str], None]


@dataclass(frozen=True)
class LatencyOptions:
    """Which models are measured, and how long.

    Attributes:
        seconds: timed seconds for each case, all rounds together; there is at least one call in each round.
        threads: of every library; the server takes every core in any case.
    """

    models: BenchmarkModels
    rounds: int
    seconds: float
    threads: int = field(default_factory=machine.cores)


@dataclass
class CaseState:
    """The results of one case so far.

    Attributes:
        status: None unless the case cannot be measured.
        error: difference of the first call's output from the reference.
        calls: number of calls to time in each round.
        timings: one entry for each finished round.
    """

    case: BenchmarkCase
    status: Status | None = None
    reason: str = ""
    worker: RemoteEngine | None = None
    load_s: float | None = None
    error: Verification | None = None
    calls: int = 0
    timings: list[TimedCalls] = field(default_factory=list)

    def attempt(self, work: Callable[[CaseState], None]) -> None:
        """Do a part of the measurement, unless an earlier part has failed."""
        if self.status is None:
            try:
                work(self)
            except SubjectError as error:
                self.status, self.reason = "failed", str(error)


class LatencyRun:
    """One run of the benchmark; all its rows share start time, commit, device and versions."""

    def __init__(self, options: LatencyOptions) -> None:
        self._options = options
        self._references: dict[int, ReferenceData] = {}
        self._started = machine.now()
        self._commit, self._device, self._versions = machine.commit(), machine.device(), machine.versions()

    def measure(self, group: Group, step: Step, keep: Callable[[list[LatencyRow]], None]) -> None:
        """Measure a group.

        Args:
            group: the cases to measure.
            step: called with a phrase before each case is loaded and before it is timed.
            keep: called once with the rows, after an interruption too; then they hold the rounds that were finished.
        """
        states = [CaseState(case) for case in group.cases]
        with ExitStack() as stack:
            try:
                self._load(states, stack, step)
                for number, state in alternating(states, self._options.rounds):
                    step(f"round {number + 1}: {state.case}")
                    state.attempt(self._time_case)
            finally:
                rows = [self._row(group, state) for state in states]
                keep([row for row in rows if row.n or row.status != "interrupted"])

    def _load(self, states: Sequence[CaseState], stack: ExitStack, step: Step) -> None:
        workers: dict[BenchmarkCase, RemoteEngine] = {}
        for state in states:
            step(f"loading: {state.case}")
            if state.case.precision == "bf16" and not supports_bf16():
                state.status, state.reason = "unavailable", "this processor does not multiply bfloat16"
            state.attempt(partial(self._open, workers=workers, stack=stack))

    def _open(self, state: CaseState, workers: dict[BenchmarkCase, RemoteEngine], stack: ExitStack) -> None:
        case, reference = state.case, self._reference_of(state.case)
        models = reference.models
        if case.subject not in workers:
            prepare(case, models)
            signature = signature_of(case.stage, models.scale.geometry)
            open_engine = partial(open_subject, case, models, self._options.threads)
            workers[case.subject] = RemoteEngine(signature, open_engine, models.folder / "workers.log")
            state.load_s = stack.enter_context(workers[case.subject]).load()
        worker = state.worker = workers[case.subject]
        sample = reference.sample(case.stage, case.batch)
        # The first call may compile; its output is checked. The second call's time gives the number of timed calls.
        if case.stage == "roof":
            worker.run(sample.inputs)
        else:
            state.error = verify(worker, [sample], "the reference's inputs", Bound(psnr=0))
        seconds = worker.time_calls(sample.inputs, 1, 1).wall
        share = case.weight * self._options.seconds / self._options.rounds
        state.calls = max(case.in_flight, round(share / seconds))

    def _time_case(self, state: CaseState) -> None:
        assert state.worker is not None
        case = state.case
        time.sleep(SETTLE)
        inputs = self._reference_of(case).sample(case.stage, case.batch).inputs
        state.timings.append(state.worker.time_calls(inputs, state.calls, case.in_flight))

    def _reference_of(self, case: BenchmarkCase) -> ReferenceData:
        size = case.resolution
        if size not in self._references:
            self._references[size] = ReferenceData(self._options.models.at(size))
        return self._references[size]

    def _row(self, group: Group, state: CaseState) -> LatencyRow:
        case, reference = state.case, self._reference_of(state.case)
        scale = reference.models.scale
        is_roof = case.stage == "roof"
        costs = MICROBENCHMARKS[case.engine].costs(scale) if is_roof else reference.costs(case.stage)
        finished = len(state.timings) == self._options.rounds
        row = LatencyRow(
            run=self._started,
            time=machine.now(),
            commit=self._commit,
            group=group.name,
            stage=case.stage,
            engine=case.engine,
            precision=case.precision,
            served=case.served,
            resolution=0 if is_roof else scale.geometry.resolution,
            batch=case.batch,
            in_flight=case.in_flight,
            status=state.status or ("ok" if finished else "interrupted"),
            reason=state.reason,
            load_s=state.load_s,
            gmac=costs.macs / 1e9,
            gbyte=None if costs.bytes is None else costs.bytes / 1e9,
            device=self._device,
            threads=self._options.threads,
            versions=self._versions,
        )
        return with_measurements(row, state)


def with_measurements(row: LatencyRow, state: CaseState) -> LatencyRow:
    """The row with the times, the memory and the errors that have been measured."""
    if state.error:
        psnr = math.inf if state.error.psnr is None else state.error.psnr
        row = replace(row, worst_error=state.error.worst, psnr_db=psnr)
    if not state.timings or state.status == "failed":
        return row
    rounds_ms = [1e3 * np.asarray(timed.seconds) for timed in state.timings]
    calls_ms = np.concatenate(rounds_ms)
    p5, p50, p95 = percentiles(calls_ms)
    return replace(
        row,
        n=len(calls_ms),
        p5_ms=p5,
        p50_ms=p50,
        p95_ms=p95,
        rounds_ms=text_of_medians(rounds_ms),
        over_engines="" if row.in_flight > 1 else _over_engines(state.timings),
        pictures_per_s=len(calls_ms) * row.batch / sum(timed.wall for timed in state.timings),
        peak_mib=max(timed.peak_bytes for timed in state.timings) / 2**20,
    )


def _over_engines(timings: Sequence[TimedCalls]) -> str:
    return " ".join(f"{sum(timed.seconds) / timed.engine_seconds:.4g}" for timed in timings if timed.engine_seconds)
