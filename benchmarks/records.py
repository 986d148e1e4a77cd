"""Raw results as CSV files in ``results/``: a dataclass is a file's schema, and each of its instances a row."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class OfRun(Protocol):
    """A record that names its run."""

    @property
    def run(self) -> str: ...


RunRecord = TypeVar("RunRecord", bound=OfRun)

Status = Literal["ok", "interrupted", "failed", "unavailable"]
"""Outcome of a measurement."""

RESULTS_FOLDER = Path(__file__).parent / "results"

_TYPES: dict[type, Callable[[str], object]] = {bool: lambda text: text == "True", int: int, float: float}
"""How a column's text becomes a value; every other column is text."""


def check_results(results: Path, recorded: Path, *, quick: bool) -> None:
    """Raise BadParameter if a quick run would write beside the recorded results, which are a file or a folder."""
    # Imported here, since a machine that only measures may not have it.
    import typer

    if quick and results == recorded:
        kind = "file" if recorded.suffix else "folder"
        raise typer.BadParameter(f"a quick run's times mean nothing: give --results another {kind}")


def append_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Append records of one dataclass, whose fields are the columns; a file that does not exist gets a header first.

    They are on the disk when the function returns. A last row that was cut off, as by a machine's end, is removed.
    """
    columns = [field.name for field in fields(kind)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        kept = file.truncate(len(_whole_rows(file.read())))
        text = StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not kept:
            writer.writeheader()
        writer.writerows({name: _text(getattr(record, name)) for name in columns} for record in records)
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """All records of a CSV, without a last row that was cut off; none where the file does not exist.

    Raises:
        ValueError: a row holds text where the schema has a number.
        TypeError: its columns are not the schema's.
    """
    if not path.exists():
        return []
    types = {name: _type_of(hint) for name, hint in get_type_hints(kind).items()}
    rows = csv.DictReader(StringIO(_whole_rows(path.read_bytes()).decode(), newline=""))
    return [kind(**{name: types.get(name, str)(text) for name, text in row.items() if text}) for row in rows]


def last_run(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records of the run that was recorded last, in their order."""
    return [record for record in records if record.run == records[-1].run]


def _whole_rows(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _type_of(hint: Any) -> Callable[[str], object]:
    options = get_args(hint) or (hint,)
    return next((_TYPES[option] for option in options if option in _TYPES), str)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
