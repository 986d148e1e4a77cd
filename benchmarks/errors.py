"""The error of a benchmark case that cannot be measured, and how a row words it."""

from __future__ import annotations

from pathlib import Path


class SubjectError(Exception):
    """A subject (the engine, network or server under test) cannot be loaded or run; the message is the row's reason."""


def one_line(error: Exception) -> str:
    """An error's type and the first line of its message, without this machine's paths, since rows are published."""
    lines = str(error).replace(f"{Path.cwd()}/", "").strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
