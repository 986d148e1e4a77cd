"""Raw results as CSV files in ``results/``: one dataclass a schema, one record a row."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

Status = Literal["ok", "interrupted", "failed", "unavailable"]
"""What became of a measurement."""

RESULTS_FOLDER = Path(__file__).parent / "results"


def append_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Append dataclasses of one kind, whose fields are the columns."""
    columns = [field.name for field in fields(kind)]
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if not begun:
            writer.writeheader()
        writer.writerows({name: _text(getattr(record, name)) for name in columns} for record in records)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """All records of a CSV; none where there is no file.

    Raises:
        pydantic.ValidationError: a row is not of the schema.
    """
    # Imported here: a machine that only measures needs it not.
    from pydantic import TypeAdapter

    if not path.exists():
        return []
    adapter = TypeAdapter(kind)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [adapter.validate_python({k: v for k, v in record.items() if v != ""}) for record in found]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
