"""The course of a GPU run: steps in order of worth, of which none can end another or cost more than its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.errors import SubjectError, subject_error
from benchmarks.gpu.results import Results
from benchmarks.gpu.rows import StepRow
from benchmarks.networks import BenchmarkModels
from benchmarks.worker import Worker

OUT_OF_TIME = "left out: the time was up"
PRELOADED = "benchmarks.gpu.steps"
"""What processes of a run have imported when they start, which saves seconds for each; it leaves the GPU alone."""
GRACE = 20.0
"""Seconds by which a call that began in time may exceed its step's time."""


class TimeUpError(Exception):
    """The time of the step, or of the whole run, is up; a later call measures the rest."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_TIME)


@dataclass(frozen=True)
class GpuOptions:
    """What is measured on which device, and how long.

    Attributes:
        prepared: the file of references that ``benchmarks.gpu.prepare`` wrote elsewhere; it need not exist.
        quick: tiny networks and few cases, which only check that everything runs.
        rounds: rounds of each subject.
        seconds: timed seconds of a subject in each round.
        minutes: time after ``started`` (the monotonic clock's seconds) from which no new measurement is started.
        processes: number of processes that compile kernels at once.
    """

    models: BenchmarkModels
    device: str
    prepared: Path
    quick: bool
    rounds: int
    seconds: float
    minutes: float
    processes: int
    started: float = field(default_factory=time.monotonic)

    @property
    def end(self) -> float:
        """The monotonic clock's seconds from which no new measurement is started."""
        return self.started + 60 * self.minutes


@dataclass(frozen=True)
class Step:
    """One step of the course.

    Attributes:
        name: its name in rows and on the command line.
        does: what it does, in a phrase.
        take: takes the step, and returns a note for its row.
        seconds: the time after which it starts no new measurement.
    """

    name: str
    does: str
    take: Callable[[Course], str]
    seconds: float


@dataclass
class Course:
    """Takes the steps; their functions use it to open processes and to write rows."""

    options: GpuOptions
    results: Results
    report: Callable[[str], None]
    _step_end: float = 0.0

    def take(self, step: Step) -> None:
        """Take a step, unless it was taken; whatever it raises is a row and a traceback."""
        if self.results.has(StepRow, step.name):
            self.report(f"{step.name}: measured in an earlier call")
            return
        begin = time.monotonic()
        self._step_end = min(begin + step.seconds, self.options.end)
        self.report(f"{step.name}: {step.does}")
        status, reason, note = "ok", "", ""
        try:
            self.check_time()
            note = step.take(self)
        except TimeUpError as error:
            status, reason = "interrupted", str(error)
        except Exception as error:  # the other steps follow, whatever is wrong with this one
            known = error if isinstance(error, SubjectError) else subject_error(error)
            status, reason = "failed", str(known)
            self.results.add_error(step.name, known)
        seconds = time.monotonic() - begin
        self.results.add(StepRow, step=step.name, status=status, reason=reason, seconds=seconds, note=note)
        self.report(f"{step.name}: {reason or status}, {seconds:.0f} s")

    def check_time(self) -> None:
        """Raise TimeUpError where the step may start nothing more."""
        if time.monotonic() >= self._step_end:
            raise TimeUpError

    def worker(self, factory: Callable[[], object]) -> Worker:
        """Start a process; its output is in workers.log beside the rows."""
        self.results.folder.mkdir(parents=True, exist_ok=True)
        return Worker(factory, self.results.folder / "workers.log", PRELOADED)

    def ask(self, worker: Worker, method: str, *arguments: object, timeout: float) -> Any:
        """Call a method of a worker's object, in the step's time.

        Raises:
            TimeUpError: the step may start nothing more.
            SubjectError: as ``Worker.ask`` says.
        """
        self.check_time()
        last = self._step_end + GRACE
        try:
            return worker.ask(method, *arguments, timeout=min(timeout, last - time.monotonic()))
        except SubjectError:
            if time.monotonic() >= last:  # the step's time ended the call, not the subject
                raise TimeUpError from None
            raise
