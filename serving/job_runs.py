"""Runs of many jobs: a job that fails does not stop the others, and what is done already is skipped.

So a command that was interrupted can be given again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Generic, TypeVar

from engines.contract.errors import ExportError, ServerError, ToonifyError
from serving.jobs import Job
from serving.patience import Patience
from serving.reporting import Reporter
from serving.workers import Workers

Result = TypeVar("Result")


def run_jobs(
    jobs: Sequence[Job],
    run: Callable[[Path, Path], Result],
    reporter: Reporter[Result],
    *,
    skip_existing: bool,
    in_flight: int = 1,
    cancelled: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
) -> bool:
    """Run every job and report it, in the order of the jobs; return whether all were started and none failed.

    Args:
        jobs: the jobs.
        run: does one job, from its source and its target.
        reporter: receives what happens.
        skip_existing: skip jobs whose target exists. One that is empty is made again: it is what remains where a
            machine lost its power, or was stopped between two steps on a file system without hard links.
        in_flight: number of jobs that run at the same time, each in a thread; a single one runs in the caller's.
        cancelled: asked before each job; once it is true, no further one is started.
        patience: decides which jobs are tried again that no server answered, and when to stop; None: none, and never.
    """
    attempt = _Attempt(run, reporter, skip_existing, cancelled, patience)
    wanted = takewhile(lambda _: not attempt.over(), jobs)
    reported: list[bool] = []
    with Workers(in_flight) as workers, attempt:
        # A single job runs in this thread, where Ctrl-C ends it at once.
        outcomes = workers.mapped(attempt, wanted) if in_flight > 1 else map(attempt, wanted)
        for job, outcome in zip(jobs, outcomes, strict=False):
            reported.append(_report(reporter, job.target, outcome))
    if len(reported) < len(jobs) and not cancelled():
        reporter.stopped(len(jobs) - len(reported))
    return len(reported) == len(jobs) and all(reported)


@dataclass(frozen=True)
class _Finished(Generic[Result]):
    result: Result


_Outcome = _Finished[Result] | ToonifyError | None
"""None stands for a job that is skipped."""


@dataclass(frozen=True)
class _Attempt(Generic[Result]):
    """Does a job, in any thread; leaving the ``with`` block ends all waiting."""

    run: Callable[[Path, Path], Result]
    reporter: Reporter[Result]
    skip_existing: bool
    cancelled: Callable[[], bool]
    patience: Patience | None
    ended: Event = field(default_factory=Event)

    def over(self) -> bool:
        """Return whether no further job is to be started."""
        return self.cancelled() or (self.patience is not None and self.patience.exhausted)

    def __call__(self, job: Job) -> _Outcome[Result]:
        if self._is_skipped(job.target):
            return None
        self.reporter.started(job.target)
        try:
            return _Finished(self._answered(job, self.patience) if self.patience else self.run(job.source, job.target))
        except ExportError as error:
            # Another machine may have made it meanwhile, which was taken for dead.
            return None if self._is_skipped(job.target) else error
        except ToonifyError as error:
            return error

    def _is_skipped(self, target: Path) -> bool:
        """Return whether a job is left out because its output exists, once an empty one is removed."""
        if not self.skip_existing:
            return False
        _remove_empty(target)
        return os.path.lexists(target)

    def _answered(self, job: Job, patience: Patience) -> Result:
        """Do a job, and try it again as long as there is patience."""
        tries = 0
        while True:
            try:
                result = self.run(job.source, job.target)
            except ServerError as error:
                tries += 1
                pause = patience.pause_after(tries, error)
                if pause is not None and tries == 1:
                    self.reporter.waiting(job.target, error)
                if pause is None or not patience.wait(pause, self.ended, self.cancelled):
                    patience.failed(error)
                    raise
            else:
                patience.answered()
                return result

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.ended.set()


def _report(reporter: Reporter[Result], target: Path, outcome: _Outcome[Result]) -> bool:
    """Report the outcome of a job; return whether its output is there."""
    if isinstance(outcome, ToonifyError):
        reporter.failed(target, outcome)
        return False
    if outcome:
        reporter.finished(target, outcome.result)
    else:
        reporter.skipped(target)
    return True


def _remove_empty(target: Path) -> None:
    """Remove an output that is an empty file or folder."""
    with suppress(OSError, ValueError):  # there is none, it is not empty, or another machine was quicker
        status = target.lstat()
        if stat.S_ISDIR(status.st_mode):
            target.rmdir()
        elif stat.S_ISREG(status.st_mode) and not status.st_size:
            target.unlink()
