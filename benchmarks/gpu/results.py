"""The rows of a GPU run: each is on the disk before the next measurement starts, and a later call finds it there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.gpu.rows import FILES, RunRow
from benchmarks.records import append_records, read_records

Row = TypeVar("Row", bound=RunRow)


@dataclass(frozen=True)
class RunIdentity:
    """What rows of one run have in common: its start, the code, the device and the libraries' versions."""

    run: str
    commit: str
    device: str
    versions: str


@dataclass
class Results:
    """Writes a run's rows and tracebacks into a folder; may be used by several threads.

    Args:
        folder: the folder; it is created with the first row.
        identity: the run's.
    """

    folder: Path
    identity: RunIdentity
    _lock: Lock = field(default_factory=Lock)

    def add(self, kind: type[Row], **fields: Any) -> Row:
        """Write a row; the run's own columns are filled in."""
        row: Row = kind(**vars(self.identity), time=machine.now(), **fields)
        with self._lock:
            append_records(self.folder / FILES[kind].name, kind, [row])
        return row

    def add_error(self, what: str, error: SubjectError) -> None:
        """Write an error with its whole traceback to tracebacks.txt."""
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "tracebacks.txt").open("a") as file:
                file.write(f"[{machine.now()}] {what}: {error}\n{error.details}\n")
                file.flush()
                os.fsync(file.fileno())

    def rows(self, kind: type[Row]) -> list[Row]:
        """The run's latest row of everything that was measured, in the order of the first rows."""
        found = read_records(self.folder / FILES[kind].name, kind)
        return latest(row for row in found if row.run == self.identity.run)

    def has(self, kind: type[RunRow], *key: object) -> bool:
        """Whether nothing is left to measure of what has this key."""
        return any(row.is_final for row in self.rows(kind) if row.key == key)


def latest(rows: Iterable[Row]) -> list[Row]:
    """The last one of the rows with each key."""
    return list({row.key: row for row in rows}.values())


def resumed_run(folder: Path, commit: str, device: str) -> str | None:
    """The start of the last run in a folder, if it measured this code on this device."""
    rows = [row for kind, file in FILES.items() for row in read_records(folder / file.name, kind)]
    last = max(rows, key=lambda row: row.run, default=None)
    return last.run if last and (last.commit, last.device) == (commit, device) else None
