"""Sections of documents that a command writes: from ``<!-- generated: python -m MODULE -->`` to ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]

MAIN_README = _ROOT / "README.md"
README = _ROOT / "benchmarks" / "README.md"
VIDEO_README = _ROOT / "benchmarks" / "video" / "README.md"
FACES_README = _ROOT / "serving" / "faces" / "README.md"
DEPLOY_README = _ROOT / "serving" / "deploy" / "README.md"
KERNELS_README = _ROOT / "engines" / "kernels" / "README.md"
SERVER_README = _ROOT / "serving" / "triton" / "README.md"

END = "<!-- end -->"


def with_section(document: str, module: str, section: str) -> str:
    """Replace the text between a module's markers; a document without these markers is returned unchanged."""
    begin = f"<!-- generated: python -m {module} -->"
    return re.sub(f"{begin}.*?{END}", lambda _: f"{begin}\n{section}\n{END}", document, flags=re.DOTALL)


def number(value: float | None) -> str:
    """Format with three significant digits, from 1000 on as a whole number; None becomes ""."""
    return "" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def line(*cells: str) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
