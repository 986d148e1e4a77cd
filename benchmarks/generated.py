"""Documents with sections that a command writes, ``<!-- generated: python -m MODULE -->`` to ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]

MAIN_README = _ROOT / "README.md"
README = _ROOT / "benchmarks" / "README.md"
VIDEO_README = _ROOT / "benchmarks" / "video" / "README.md"
SERVER_README = _ROOT / "serving" / "triton" / "README.md"

END = "<!-- end -->"


def with_section(document: str, module: str, section: str) -> str:
    """A document with another text between a module's markers; unchanged where it has none."""
    begin = f"<!-- generated: python -m {module} -->"
    return re.sub(f"{begin}.*?{END}", lambda _: f"{begin}\n{section}\n{END}", document, flags=re.DOTALL)


def number(value: float | None) -> str:
    """Three digits, whole numbers from 1000 on; "" of nothing."""
    return "" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"
