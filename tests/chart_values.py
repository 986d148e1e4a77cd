"""``python -m tests.chart_values``: writes the table of the chart's values, from ``values.yaml`` and its comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.generated import line, with_section

FOLDER = Path(__file__).parents[1] / "serving/deploy/kubernetes"
README = FOLDER / "README.md"


class Value(NamedTuple):
    """A value of the chart: its name, as ``edge.port``, its default, and what it means."""

    name: str
    default: object
    meaning: str


def values(text: str) -> Iterator[Value]:
    """Read the values, each of which stands in one line below the comment that says what it means.

    A line without a value begins a group.
    """
    groups: list[str] = []
    comment: list[str] = []
    for row in text.splitlines():
        if found := re.fullmatch(r"( *)(\w+):(.*)", row):
            depth, name, default = len(found[1]) // 2, found[2], found[3].strip()
            groups = [*groups[:depth], name]
            if default:
                yield Value(".".join(groups), yaml.safe_load(default), " ".join(comment))
        comment = [*comment, row.strip("# ")] if row.lstrip().startswith("#") else []


def table() -> str:
    """The table of all values."""
    rows = [
        line(f"`{value.name}`", _default(value.default), value.meaning)
        for value in values((FOLDER / "chart/values.yaml").read_text())
    ]
    return "\n".join(["", line("value", "default", "meaning"), "|---|---|---|", *rows, ""])


def _default(value: object) -> str:
    if value in ("", [], {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    README.write_text(with_section(README.read_text(), "tests.chart_values", table()))
