"""The GPU measurement: groups of subjects that alternate until the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.gpu.kernels import KernelTimer, KernelWorkload
from benchmarks.gpu.rows import GpuRow, KernelRow
from benchmarks.gpu.subjects import GpuTimings, RemoteSubject, Subject
from benchmarks.networks import BenchmarkModels
from benchmarks.reference import ReferenceData
from benchmarks.rounds import alternating, percentiles, text_of_medians
from benchmarks.worker import Worker
from export.parity import Parity

Report = Callable[[str], None]

TIMING_TIMEOUT = 60.0
OUT_OF_TIME = "left out: the time was up"


@dataclass(frozen=True)
class GpuOptions:
    """Which models are measured on which device, and how long.

    Attributes:
        seconds: timed seconds of a subject in each round.
        minutes: time after ``started`` (the monotonic clock's seconds) from which no new measurement is started.
    """

    models: BenchmarkModels
    device: str
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds in which new measurements may still be started."""
        return self.started + 60 * self.minutes - time.monotonic()

    @property
    def log(self) -> Path:
        return self.models.folder / "workers.log"


@dataclass
class GpuCaseState:
    """The results so far of one subject at one batch size."""

    subject: Subject
    batch: int
    reason: str = ""
    unavailable: bool = False
    parity: Parity | None = None
    timings: list[GpuTimings] = field(default_factory=list)


@dataclass
class GpuRun:
    """One run of the benchmark; all its rows share start time, commit, device and versions."""

    options: GpuOptions
    device: str
    versions: str
    report: Report
    started: str = field(default_factory=machine.now)
    commit: str = field(default_factory=machine.commit)

    def group(self, name: str, subjects: Sequence[Subject], reasons: Mapping[Subject, str]) -> list[GpuRow]:
        """Load and check the subjects, then time them in alternating rounds; ``reasons`` says why some cannot be."""
        unavailable = {subject: reason for subject, reason in reasons.items() if reason}
        states = [
            GpuCaseState(s, batch, unavailable.get(s, ""), s in unavailable)
            for batch in self.options.batches
            for s in subjects
        ]
        loads: dict[Subject, float] = {}
        with ExitStack() as stack:
            workers = {s: stack.enter_context(self._worker(s)) for s in subjects if s not in unavailable}
            for subject, worker in workers.items():
                self._load(subject, worker, [state for state in states if state.subject == subject], loads)
            for number, state in alternating(states, self.options.rounds):
                if not state.reason:
                    self._time_case(state, workers[state.subject], number)
        return [self._row(name, state, loads.get(state.subject)) for state in states]

    def _worker(self, subject: Subject) -> Worker:
        options = self.options
        return Worker(partial(RemoteSubject, subject, options.models, options.device, options.batches), options.log)

    def _load(self, subject: Subject, worker: Worker, states: list[GpuCaseState], loads: dict[Subject, float]) -> None:
        self.report(f"loading {subject}")
        try:
            if self.options.left <= 0:
                raise SubjectError(OUT_OF_TIME)
            loads[subject] = worker.ask("load", timeout=self.options.left)
        except SubjectError as error:
            for state in states:
                state.reason = str(error)
        for state in states:
            if not state.reason:
                try:  # the first call may take minutes to compile
                    state.parity = worker.ask("check", state.batch, timeout=max(self.options.left, TIMING_TIMEOUT))
                except SubjectError as error:
                    state.reason = str(error)

    def _time_case(self, state: GpuCaseState, worker: Worker, number: int) -> None:
        if self.options.left <= 0:
            state.reason = OUT_OF_TIME
            return
        self.report(f"round {number + 1}: {state.subject}, batch {state.batch}")
        try:
            state.timings.append(worker.ask("time_calls", state.batch, self.options.seconds, timeout=TIMING_TIMEOUT))
        except SubjectError as error:
            state.reason, state.timings = str(error), []

    def _row(self, group: str, state: GpuCaseState, load_s: float | None) -> GpuRow:
        scale, stage = self.options.models.scale, state.subject.stage
        status = "ok" if not state.reason else "interrupted" if state.timings else "failed"
        if state.unavailable or (state.reason == OUT_OF_TIME and not state.timings):
            status = "unavailable"
        measured: dict[str, float | int | str] = {}
        if state.timings:
            device = [ms for timed in state.timings for ms in timed.device]
            host = [ms for timed in state.timings for ms in timed.host]
            measured = {
                "n": len(device or host),
                **dict(zip(("host_p5_ms", "host_p50_ms", "host_p95_ms"), percentiles(host), strict=True)),
                "rounds_ms": text_of_medians(timed.device or timed.host for timed in state.timings),
            }
            if device:
                measured |= dict(zip(("p5_ms", "p50_ms", "p95_ms"), percentiles(device), strict=True))
                measured["peak_mib"] = max(timed.peak_bytes for timed in state.timings) / 2**20
        if state.parity:
            parity = state.parity
            measured |= {"worst_error": parity.worst, "mean_error": parity.mean, "psnr_db": parity.psnr}
        return GpuRow(
            run=self.started,
            time=machine.now(),
            commit=self.commit,
            group=group,
            stage=stage,
            engine=state.subject.engine,
            precision=state.subject.precision,
            resolution=scale.geometry.resolution,
            batch=state.batch,
            status=status,  # type: ignore[arg-type]
            reason=state.reason,
            load_s=load_s,
            gmac=ReferenceData(self.options.models).costs(stage).macs / 1e9,
            device=self.device,
            versions=self.versions,
            **measured,  # type: ignore[arg-type]
        )

    def kernels(
        self, workloads: Sequence[KernelWorkload], batches: Sequence[int], copied: int, side: int
    ) -> list[KernelRow]:
        """Measure the GPU's two limits, then time every kernel.

        Args:
            workloads: the kernels to time.
            batches: batch sizes.
            copied: number of float16 numbers in the copy that measures the memory's limit.
            side: side length of the matrices whose product measures the arithmetic's limit.
        """
        rows: list[KernelRow] = []
        worker = Worker(partial(KernelTimer, self.options.device), self.options.log)
        try:
            limits = {"copy": (4.0 * copied, 0.0, copied), "product": (6.0 * side**2, 2.0 * side**3, side)}
            rates: list[float] = []
            for name, (moved, operations, size) in limits.items():
                self.report(f"limit: {name}")
                times = worker.ask(name, size, self.options.seconds, timeout=TIMING_TIMEOUT)
                rates.append(max(moved, operations) / np.percentile(times, 5))
                rows.append(self._kernel_row(KernelWorkload(name, 0, 0, size), 1, moved, operations, times))
            for workload in workloads:
                for batch in batches:
                    self.report(f"kernel: {workload}, batch {batch}")
                    moved, operations = workload.costs(batch)
                    least_ms = {"memory": moved / rates[0], "arithmetic": operations / rates[1]}
                    bound = max(least_ms, key=lambda name: least_ms[name])
                    try:
                        if self.options.left <= 0:
                            raise SubjectError(OUT_OF_TIME)
                        times = worker.ask("kernel", workload, batch, self.options.seconds / 2, timeout=TIMING_TIMEOUT)
                        fraction = least_ms[bound] / float(np.median(times))
                        rows.append(self._kernel_row(workload, batch, moved, operations, times, bound, fraction))
                    except SubjectError as error:
                        rows.append(self._kernel_row(workload, batch, moved, operations, [], reason=str(error)))
                        if str(error) != OUT_OF_TIME:  # after a fault in a kernel the process cannot use the GPU
                            worker.close()
                            worker = Worker(partial(KernelTimer, self.options.device), self.options.log)
        except SubjectError as error:
            self.report(f"kernels: {error}")
        finally:
            worker.close()
        return rows

    def _kernel_row(
        self,
        workload: KernelWorkload,
        batch: int,
        moved: float,
        operations: float,
        times: Sequence[float],
        bound: str = "",
        fraction: float | None = None,
        reason: str = "",
    ) -> KernelRow:
        p5, p50, p95 = percentiles(times) if times else (None, None, None)
        return KernelRow(
            run=self.started,
            time=machine.now(),
            commit=self.commit,
            kernel=workload.kernel,
            channels_in=workload.channels_in,
            channels_out=workload.channels_out,
            size=workload.size,
            batch=batch,
            status="ok" if times else "unavailable" if reason == OUT_OF_TIME else "failed",
            reason=reason,
            n=len(times),
            p5_ms=p5,
            p50_ms=p50,
            p95_ms=p95,
            mbyte=moved / 1e6,
            gflop=operations / 1e9,
            bound=bound,
            fraction=fraction,
            device=self.device,
            versions=self.versions,
        )
