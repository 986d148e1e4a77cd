"""What a row says where something could not be measured."""

from __future__ import annotations

from pathlib import Path


class SubjectError(Exception):
    """A subject that cannot be made, loaded or run; the message is the row's reason."""


def one_line(error: Exception) -> str:
    """An error's kind and its first line, without this machine's paths: rows are published."""
    lines = str(error).replace(f"{Path.cwd()}/", "").strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
