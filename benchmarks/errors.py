"""The error of a benchmark case that cannot be measured, and how a row words it."""

from __future__ import annotations

import traceback
from pathlib import Path


class SubjectError(Exception):
    """A subject (the engine, network or server under test) cannot be loaded or run; the message is the row's reason.

    Attributes:
        details: the whole traceback of what the subject raised; "" where its process raised nothing.
    """

    details = ""


def subject_error(error: Exception) -> SubjectError:
    """The error of a subject that raised another one, with its whole traceback."""
    wrapped = SubjectError(one_line(error))
    wrapped.details = "".join(traceback.format_exception(error))
    return wrapped


def one_line(error: Exception) -> str:
    """An error's type and the first line of its message, without this machine's paths, since rows are published."""
    lines = str(error).replace(f"{Path.cwd()}/", "").strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
