"""The names that source code takes of TensorRT's Python packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"trt": "tensorrt", "library": "tensorrt", "self._library": "tensorrt", "trtp": "tensorrt.plugin"}
"""What a package is called in the code; TensorRT for RTX has the names of TensorRT."""


def names_used(source: Path) -> Iterator[str]:
    """Yield every ``tensorrt.X.Y`` of a module, in full or as an attribute of a variable annotated with ``trt.X``."""
    tree = ast.parse(source.read_text())
    known = dict(PACKAGES)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            target = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            kind = re.match(r"trt\.(\w+)", ast.unparse(node.annotation))
            if kind:
                known[target] = f"tensorrt.{kind[1]}"
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if re.fullmatch(r"[\w.]+", text):
            for name, kind in known.items():
                if text.startswith(f"{name}."):
                    yield f"{kind}{text.removeprefix(name)}"
