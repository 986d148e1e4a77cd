"""Work on many files: the inputs, their outputs, one machine's share of them, and one job after the other.

A job that fails does not stop the others, and a job whose output is there is skipped, so that a command that was
interrupted can be given again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Generic, TypeVar

from engines.contract.errors import RequestError, ToonifyError
from serving.reporting import Reporter
from serving.workers import Workers

Result = TypeVar("Result")


@dataclass(frozen=True)
class FileKind:
    """What a command reads and writes.

    ``name``: what one such file is called.
    ``found``: suffixes of the files of a folder that are taken; a file given by name is opened whatever its suffix.
    ``kept``: suffixes that an output may have.
    ``otherwise``: the suffix of an output whose input has another one.
    """

    name: str
    found: frozenset[str]
    kept: frozenset[str]
    otherwise: str


@dataclass(frozen=True)
class Job:
    """A file to read and the file, or folder, to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal shares of the jobs of a command; ``number`` counts from 1.

    The shares depend on the inputs alone, not on what is done already, so that machines that start at different times
    never do the same.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """Parse "I/N", with I from 1 to N.

        Raises:
            ValueError: the text has another form.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(text)
        return cls(int(number), int(count))

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this share."""
        return [*jobs[self.number - 1 :: self.count]]


@dataclass(frozen=True)
class _Finished(Generic[Result]):
    result: Result


def files_in(inputs: Sequence[Path], kind: FileKind) -> list[Path]:
    """Return the files among ``inputs``, and those of a kind in the folders among them, sorted by name.

    Raises:
        RequestError: a folder contains none, or cannot be read.
    """
    files: list[Path] = []
    for path in inputs:
        found = _files_of(path, kind) if path.is_dir() else [path]
        if not found:
            raise _refused(path, f"no {kind.name} in it", "at least one", "give another folder")
        files += found
    return files


def jobs_of(
    files: Sequence[Path],
    output: Path,
    kind: FileKind,
    *,
    in_folder: bool,
    suffix: str | None = None,
    in_place: bool = False,
) -> list[Job]:
    """Return a job for each file; its target is ``output``, or with ``in_folder`` the file's name in that folder.

    Names in a folder end in ``suffix``; None keeps the file's suffix, or takes ``kind.otherwise`` if that format cannot
    be written. With ``in_place`` a file may be its own target.

    Raises:
        RequestError: a file exists where the folder should be, two targets have one name, or a target is an input.
    """
    if in_folder and output.is_file():
        raise _refused(output, "a file", "a folder", "choose another output")
    jobs = [Job(file, output / _named(file, kind, suffix) if in_folder else output) for file in files]
    originals = set() if in_place else {file.resolve() for file in files}
    seen = set[Path]()
    for job in jobs:
        if job.target in seen:
            raise _refused(job.target, f"two {kind.name}s of that name", "one", "run the command once for each")
        if job.target.resolve() in originals:
            raise _refused(job.target, "one of the inputs", "another file", "choose another output")
        seen.add(job.target)
    return jobs


def run_jobs(
    jobs: Sequence[Job],
    run: Callable[[Path, Path], Result],
    reporter: Reporter[Result],
    *,
    skip_existing: bool,
    in_flight: int = 1,
    cancelled: Callable[[], bool] = lambda: False,
) -> bool:
    """Run every job and report it, in the order of the jobs; return whether all were started and none failed.

    Args:
        jobs: the jobs.
        run: does one job, from its source and its target.
        reporter: receives what happens.
        skip_existing: skip jobs whose target exists.
        in_flight: number of jobs that run at the same time, each in a thread; a single one runs in the caller's.
        cancelled: asked before each job; once it is true, no further one is started.
    """

    def attempt(job: Job) -> _Finished[Result] | ToonifyError | None:
        """Do a job; None stands for one that is skipped."""
        if skip_existing and os.path.lexists(job.target):
            return None
        reporter.started(job.target)
        try:
            return _Finished(run(job.source, job.target))
        except ToonifyError as error:
            return error

    wanted = takewhile(lambda _: not cancelled(), jobs)
    done = 0
    with Workers(in_flight) as workers:
        # A single job runs in this thread, where Ctrl-C ends it at once.
        outcomes = workers.mapped(attempt, wanted) if in_flight > 1 else map(attempt, wanted)
        for job, outcome in zip(jobs, outcomes, strict=False):
            if isinstance(outcome, ToonifyError):
                reporter.failed(job.target, outcome)
                continue
            if outcome:
                reporter.finished(job.target, outcome.result)
            else:
                reporter.skipped(job.target)
            done += 1
    return done == len(jobs)


def _files_of(folder: Path, kind: FileKind) -> list[Path]:
    try:
        # A leading dot marks the unfinished file of a run.
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise _refused(folder, error.strerror or "an unreadable folder", "a folder", "give another folder") from None
    return sorted(path for path in files if path.suffix.lower() in kind.found)


def _named(file: Path, kind: FileKind, suffix: str | None) -> str:
    if suffix is None:
        suffix = file.suffix if file.suffix.lower() in kind.kept else kind.otherwise
    return f"{file.stem}{suffix}"


def _refused(path: Path, got: str, expected: str, remedy: str) -> RequestError:
    return RequestError(str(path), got=got, expected=expected, remedy=remedy)
