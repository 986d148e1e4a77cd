"""Every format is read into a network that equals its official definition, and the table about them is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.generated import END
from tests.formats.differences import BOUNDS, Row
from tests.formats.table import README, ROWS

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_network_that_was_read_equals_its_official_definition(row: Row, tmp_path: Path) -> None:
    difference = row.compare(tmp_path)
    assert difference.bound <= BOUNDS[difference.unit][-1]
    assert f"| {row.format} | {row.variant} | {row.against} | {difference} |" in README.read_text()


def test_the_table_has_these_rows_only() -> None:
    lines = re.findall(r"^\| .* \|$", README.read_text().partition("tests.formats")[2].partition(END)[0], re.MULTILINE)
    assert len(lines) == 1 + len(ROWS) == len({str(row) for row in ROWS}) + 1
