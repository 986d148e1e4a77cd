"""Groups of subjects whose timings alternate; each is timed as soon as it is loaded, and its row written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.costs import generator_macs
from benchmarks.errors import SubjectError
from benchmarks.gpu.course import Course
from benchmarks.gpu.rows import GpuRow
from benchmarks.gpu.subjects import GpuTimings, RemoteSubject, Subject
from benchmarks.records import Status
from benchmarks.reference import ReferenceData
from benchmarks.rounds import alternating, percentiles, text_of_medians
from benchmarks.worker import Worker
from export.parity import Parity

LOAD_TIMEOUT = 120.0
"""Seconds for loading a subject, and for its first call."""
TIMING_TIMEOUT = 45.0


@dataclass
class GpuCase:
    """One subject at one batch size, and its results so far."""

    subject: Subject
    batch: int
    worker: Worker | None = None
    load_s: float | None = None
    parity: Parity | None = None
    timings: list[GpuTimings] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True)
class Group:
    """Subjects that are compared with each other.

    Attributes:
        name: the group's name in rows.
        unavailable: subjects that cannot be measured here, with the reason.
        first_call_timeout: seconds for the first call, which may compile.
    """

    name: str
    subjects: Sequence[Subject]
    batches: Collection[int]
    unavailable: Mapping[Subject, str] = field(default_factory=dict)
    first_call_timeout: float = LOAD_TIMEOUT

    def measure(self, course: Course) -> None:
        """Measure what has no final row yet.

        Raises:
            TimeUpError: not everything could be measured; what could be has its rows.
        """
        begun: list[GpuCase] = []
        with ExitStack() as stack:
            try:
                for subject in self.subjects:
                    for case in self._opened(course, subject, stack):
                        self._begin(course, case)
                        begun.append(case)
                for _, case in alternating(begun, course.options.rounds - 1):
                    self._time(course, case)
            finally:
                for case in begun:
                    whole = len(case.timings) >= course.options.rounds
                    if not case.failed:
                        self._add_row(course, case, "ok" if whole else "interrupted")

    def _opened(self, course: Course, subject: Subject, stack: ExitStack) -> list[GpuCase]:
        """Load a subject in a process of its own; return its cases that have no final row."""
        batches = [batch for batch in self.batches if not self._is_measured(course, subject, batch)]
        if reason := self.unavailable.get(subject):
            for batch in batches:
                self._add_row(course, GpuCase(subject, batch), "unavailable", reason)
        if reason or not batches:
            return []
        course.report(f"loading {subject}")
        options = course.options
        remote = partial(RemoteSubject, subject, options.models, options.device, batches)
        worker = stack.enter_context(course.worker(remote))
        cases = [GpuCase(subject, batch, worker) for batch in batches]
        seconds = self._ask(course, cases, "load", timeout=LOAD_TIMEOUT)
        for case in cases:
            case.load_s = seconds
        return [case for case in cases if not case.failed]

    def _begin(self, course: Course, case: GpuCase) -> None:
        """Compare a case with the reference, time it once, and write a row that may be the last one."""
        case.parity = self._ask(course, [case], "check", case.batch, timeout=self.first_call_timeout)
        self._time(course, case)
        if not case.failed:
            self._add_row(course, case, "interrupted")

    def _time(self, course: Course, case: GpuCase) -> None:
        if not case.failed:
            course.report(f"{case.subject}, batch {case.batch}, round {len(case.timings) + 1}")
            timings = self._ask(
                course, [case], "time_calls", case.batch, course.options.seconds, timeout=TIMING_TIMEOUT
            )
            case.timings += [timings] * (not case.failed)

    def _ask(self, course: Course, cases: Sequence[GpuCase], method: str, *arguments: object, timeout: float) -> Any:
        """Call a method of the cases' subject; where it fails, so do the cases, and the result is None."""
        worker = cases[0].worker
        assert worker is not None
        try:
            return course.ask(worker, method, *arguments, timeout=timeout)
        except SubjectError as error:
            for case in cases:
                case.failed, case.timings = True, []
                self._add_row(course, case, "failed", str(error))
            course.results.add_error(f"{cases[0].subject}, {method}{arguments or ''}", error)
            return None

    def _is_measured(self, course: Course, subject: Subject, batch: int) -> bool:
        return course.results.has(GpuRow, self.name, subject.stage, subject.engine, subject.precision, batch)

    def _add_row(self, course: Course, case: GpuCase, status: Status, reason: str = "") -> None:
        subject, models = case.subject, course.options.models
        course.results.add(
            GpuRow,
            group=self.name,
            stage=subject.stage,
            engine=subject.engine,
            precision=subject.precision,
            resolution=models.scale.geometry.resolution,
            batch=case.batch,
            status=status,
            reason=reason,
            load_s=case.load_s,
            gmac=gmacs_of(subject.stage, course),
            **_measured(case),
        )


def gmacs_of(stage: str, course: Course) -> float | None:
    """10^9 multiply-accumulates of a stage for one picture; None where there is no reference, which counts them."""
    models = course.options.models
    if stage == "generator":
        return generator_macs(models.scale.channels) / 1e9
    return ReferenceData(models).costs(stage).macs / 1e9 if models.reference_file.exists() else None


def _measured(case: GpuCase) -> dict[str, float | int | str]:
    """The columns of a row that were measured."""
    measured: dict[str, float | int | str] = {}
    if case.parity:
        measured |= {"worst_error": case.parity.worst, "mean_error": case.parity.mean, "psnr_db": case.parity.psnr}
    device = [ms for timed in case.timings for ms in timed.device]
    host = [ms for timed in case.timings for ms in timed.host]
    for prefix, times in (("", device), ("host_", host)):
        if times:
            names = (f"{prefix}p5_ms", f"{prefix}p50_ms", f"{prefix}p95_ms")
            measured |= dict(zip(names, percentiles(times), strict=True))
    if case.timings:
        measured["n"] = len(device or host)
        measured["rounds_ms"] = text_of_medians(timed.device or timed.host for timed in case.timings)
        measured["peak_mib"] = max(timed.peak_bytes for timed in case.timings) / 2**20
    return measured
