"""The table of formats, and the page that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.formats import directions, generators, heads_and_encoders
from tests.formats.differences import Difference, Row

README = Path(__file__).parents[2] / "export/checkpoints/README.md"

ROWS: tuple[Row, ...] = (*generators.ROWS, *heads_and_encoders.ROWS, *directions.ROWS)


def table(differences: Iterable[Difference]) -> str:
    """The table in Markdown, with a difference for each of ``ROWS``."""
    lines = [
        f"| {row.format} | {row.variant} | {row.against} | {difference} |"
        for row, difference in zip(ROWS, differences, strict=True)
    ]
    return "\n".join(["", "| format | variant | compared with | at most |", "|---|---|---|--:|", *lines, ""])
