"""Raw results as CSV files in ``results/``: a dataclass is a file's schema, and each of its instances a row."""

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
"""Outcome of a measurement."""

RESULTS_FOLDER = Path(__file__).parent / "results"


def append_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Append records of one dataclass, whose fields are the columns; a file that does not exist gets a header first."""
    columns = [field.name for field in fields(kind)]
    path.parent.mkdir(parents=True, exist_ok=True)
    exists = path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if not exists:
            writer.writeheader()
        writer.writerows({name: _text(getattr(record, name)) for name in columns} for record in records)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """All records of a CSV; none where the file does not exist.

    Raises:
        pydantic.ValidationError: a row does not match the schema.
    """
    # Imported here, since a machine that only measures may not have it.
    from pydantic import TypeAdapter

    if not path.exists():
        return []
    adapter = TypeAdapter(kind)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [adapter.validate_python({name: text for name, text in row.items() if text != ""}) for row in rows]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
