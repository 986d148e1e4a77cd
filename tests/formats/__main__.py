"""``python -m tests.formats``: writes the table of formats into the page about checkpoints.

Every row writes a file in the layout of a project, reads it, and compares the network with its official definition.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from benchmarks.generated import with_section
from tests.formats.differences import Difference, Row
from tests.formats.table import README, ROWS, table


def measured(row: Row) -> Difference:
    """Return a row's difference."""
    with TemporaryDirectory() as folder, torch.no_grad():
        return row.compare(Path(folder))


if __name__ == "__main__":
    README.write_text(with_section(README.read_text(), "tests.formats", table([measured(row) for row in ROWS])))
