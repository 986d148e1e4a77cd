"""Reports of the jobs of a command: for a person at a terminal, for a program, or for a log."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from engines.contract.errors import ToonifyError
from serving.command_line import shows_bars

ProgressStyle = Literal["auto", "bar", "json", "none"]

Received = TypeVar("Received", contravariant=True)


class Reporter(Protocol[Received]):
    """Receives the events of jobs; ``started`` and ``waiting`` may come from several threads.

    ``waiting``: a job will be tried again when a server answers. ``stopped``: no server answers, and ``left`` jobs were
    not begun.
    """

    def skipped(self, target: Path) -> None: ...

    def started(self, target: Path) -> None: ...

    def finished(self, target: Path, result: Received) -> None: ...

    def failed(self, target: Path, error: ToonifyError) -> None: ...

    def waiting(self, target: Path, error: ToonifyError) -> None: ...

    def stopped(self, left: int) -> None: ...


@runtime_checkable
class HasRemarks(Protocol):
    """A result of a job with remarks, such as counts of faces that were left alone."""

    @property
    def numbers(self) -> Mapping[str, object]:
        """The counts by name, for a program."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Parts of a sentence, for a person; none where there is nothing to say."""
        ...


class ErrorReporter(Generic[Received]):
    """Writes to stderr what is not done, and nothing else."""

    def skipped(self, target: Path) -> None:
        sys.stderr.write(f"skipped: {target} exists already; give --force to replace it\n")

    def started(self, target: Path) -> None: ...

    def finished(self, target: Path, result: Received) -> None: ...

    def failed(self, target: Path, error: ToonifyError) -> None:
        sys.stderr.write(f"error: {error}\n")

    def waiting(self, target: Path, error: ToonifyError) -> None:
        sys.stderr.write(f"waiting: {target} is tried again as soon as a server answers; {error}\n")

    def stopped(self, left: int) -> None:
        sys.stderr.write(f"stopped: no server answers, and {left} were not begun; give the same command again later\n")


class LineReporter(ErrorReporter[Received]):
    """Adds to ``ErrorReporter`` the paths of finished targets, on stdout."""

    def finished(self, target: Path, result: Received) -> None:
        sys.stdout.write(f"{target}\n")
        if isinstance(result, HasRemarks) and result.remarks:
            sys.stderr.write(f"note: faces of {target}: {', '.join(result.remarks)}\n")


class JsonLinesReporter(Generic[Received]):
    """Writes JSON Lines to stdout: ``event`` is begun, waiting, finished, skipped, failed or stopped."""

    def skipped(self, target: Path) -> None:
        write_event("skipped", target)

    def started(self, target: Path) -> None:
        write_event("begun", target)

    def finished(self, target: Path, result: Received) -> None:
        write_event("finished", target, **(result.numbers if isinstance(result, HasRemarks) else {}))

    def failed(self, target: Path, error: ToonifyError) -> None:
        write_event("failed", target, error=str(error))

    def waiting(self, target: Path, error: ToonifyError) -> None:
        write_event("waiting", target, error=str(error))

    def stopped(self, left: int) -> None:
        write_event("stopped", None, left=left)


def write_event(event: str, target: Path | None, **fields: object) -> None:
    """Write one event, of a target or of the whole run, as a line of JSON to stdout."""
    about = {} if target is None else {"target": str(target)}
    sys.stdout.write(json.dumps({"event": event, **about, **fields}) + "\n")
    sys.stdout.flush()


class BarReporter(LineReporter[object]):
    """Adds to ``LineReporter`` a bar of the number of jobs that are done."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance

    def skipped(self, target: Path) -> None:
        super().skipped(target)
        self._advance()

    def finished(self, target: Path, result: object) -> None:
        super().finished(target, result)
        self._advance()

    def failed(self, target: Path, error: ToonifyError) -> None:
        super().failed(target, error)
        self._advance()


@contextmanager
def reporter(style: ProgressStyle, total: int) -> Iterator[Reporter[object]]:
    """Yield the reporter of ``--progress`` for ``total`` jobs; "auto" shows a bar on a terminal, and none elsewhere."""
    console = Console(stderr=True)
    if style == "json":
        yield JsonLinesReporter()
    elif style == "bar" or (style == "auto" and shows_bars(console)):
        with bar_on(console, BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
            task = bar.add_task("toonifying", total=total)
            yield BarReporter(partial(bar.advance, task))
    else:
        yield LineReporter()


def bar_on(console: Console, *columns: ProgressColumn) -> Progress:
    """Make a bar whose first column is a task's description, unstyled; paths on stdout are printed above it.

    That is so only where both are on one terminal: a pipe must receive the paths directly.
    """
    description = TextColumn("{task.description}", markup=False)
    return Progress(description, *columns, console=console, redirect_stdout=sys.stdout.isatty())
