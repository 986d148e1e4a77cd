"""Shared by the commands ``toonify`` and ``toonify-export``: one-line errors, exit codes, signals, progress.

Exit codes: 0 for success, 1 for a ToonifyError or a full disk (one line on stderr), 2 for wrong usage, 75 if no server
answers a run over many files any more, 128 + n after signal n. A bug keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from engines.contract.atomic import DISK_ERRORS, full_disk
from engines.contract.errors import RequestError, ToonifyError

_WIDEST = 1000
"""Number of columns within which a table outside a terminal breaks no line."""

_CTRL_C = 128 + signal.SIGINT


_DETAIL: ContextVar[Literal["quiet", "normal", "verbose"]] = ContextVar("detail", default="normal")
"""How much of its work the command of this context tells; each command's ``common_options`` set it."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"toonify-serve {version('toonify-serve')}")
        raise typer.Exit


def common_options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell what is being done.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell how long each stage took, in logs too.")
    ] = False,
    version: Annotated[  # the callback answers it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Add the options that a program has besides its commands'; its help is that of the typer.Typer."""
    _DETAIL.set("quiet" if quiet else "verbose" if verbose else "normal")


def is_quiet() -> bool:
    """Return whether the command of this context is to tell nothing of its work."""
    return _DETAIL.get() == "quiet"


def termination_signals() -> list[int]:
    """The signals, besides that of Ctrl-C, that end a command; an ignored one, as SIGHUP under ``nohup``, is none."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows lacks SIGHUP
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def run(app: typer.Typer) -> None:
    """Run a command; print a ToonifyError as one line and exit with 1."""
    # A file's name need not be UTF-8; on a pipe or in a file it is the same bytes again.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _signals_as_ctrl_c():
            _run_and_flush(app)
    except ToonifyError as error:
        # rich is not used here, because it wraps the line and styles file names.
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None


def _run_and_flush(app: typer.Typer) -> None:
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # any look at such a path raises it, even whether it is a folder
            raise RequestError(
                str(error.filename),
                got="a path that is too long for this system",
                expected="an existing file or folder, or a place for one",
                remedy="choose a shorter name",
            ) from None
        if error.errno not in DISK_ERRORS and error.errno != errno.EPIPE:
            raise
        # Python flushes once more at its end, and would report the failure a second time.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # as in ``toonify doctor | head -1``
            raise SystemExit(1) from None
        raise full_disk(str(error.filename or "standard output"), error) from None


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP end the command as Ctrl-C does, so that it removes what is unfinished.

    Only the first one counts: systemd may send both, and the second one must not interrupt the removal.
    """
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in termination_signals()}
    try:
        yield
    except SystemExit as end:
        # typer has turned the KeyboardInterrupt into its exit code.
        raise (SystemExit(128 + received[0]) if received and end.code == _CTRL_C else end) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Yield a function to be called with a phrase at the start of every stage; the stages are shown on stderr.

    On a terminal a spinner shows the current stage, and every finished stage leaves a line with its duration.
    Elsewhere, such as in a log, every stage writes one line when it starts; with ``--verbose`` it is as on a terminal.
    With ``--quiet`` nothing is shown.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=is_quiet())
    if not console.is_terminal and _DETAIL.get() != "verbose":
        yield lambda phrase: console.print(f"  {phrase}", markup=False)
        return
    started: list[tuple[str, float]] = []

    def finish() -> None:
        if started:
            phrase, since = started.pop()
            console.print(f"  {phrase} ({time.perf_counter() - since:.1f} s)", markup=False)

    with console.status("") as status:

        def report(phrase: str) -> None:
            finish()
            started.append((phrase, time.perf_counter()))
            status.update(f"{phrase} ...")

        yield report
        finish()


def shows_bars(console: Console) -> bool:
    """Return whether bars of progress are shown without being asked for: on a terminal, and not with ``--quiet``."""
    return console.is_terminal and not is_quiet()


def print_table(table: Table, *, stderr: bool = False) -> None:
    """Print a table as wide as the terminal; elsewhere, such as in a log, as wide as its longest rows, unbroken."""
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, markup=False, width=_WIDEST)
    console.print(table)
