"""Shared by the commands ``toonify`` and ``toonify-export``: one-line errors, exit codes, progress.

Exit codes: 0 for success, 1 for a ToonifyError (one line on stderr), 2 for wrong usage. A bug keeps its traceback.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from engines.contract.errors import ToonifyError


def run(app: typer.Typer) -> None:
    """Run a command; print a ToonifyError as one line and exit with 1."""
    try:
        app()
    except ToonifyError as error:
        # rich is not used here, because it wraps the line and styles file names.
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Yield a function to be called with a phrase at the start of every stage; the stages are shown on stderr.

    On a terminal a spinner shows the current stage, and every finished stage leaves a line with its duration.
    Elsewhere, such as in a log, every stage writes one line when it starts.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
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
