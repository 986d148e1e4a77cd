"""On macOS and Windows the client and the engines work: nothing that only Linux has is needed before it is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("engines", "serving", "export")

LINUX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "triton", "pycuda"}
"""Modules that another system lacks: of the standard library, and packages without wheels there."""

LINUX_NAMES = {"killpg", "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "SIGKILL", "setsid", "getuid"}
"""Functions and constants of portable modules that Windows lacks."""

GPU_ONLY = ("engines/kernels", "engines/tensorrt", "engines/torch")
"""Folders whose engines exist where NVIDIA's libraries do."""


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.relative_to(ROOT).as_posix().startswith(GPU_ONLY):
                yield path.relative_to(ROOT)


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that are evaluated when a module is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from at_import(node)


def needs(node: ast.AST) -> set[str]:
    """What a node takes of Linux."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names} & LINUX_ONLY
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]} & LINUX_ONLY if not node.level else set()
    return {node.attr} & LINUX_NAMES if isinstance(node, ast.Attribute) else set()


@pytest.mark.parametrize("path", [*modules()], ids=str)
def test_a_module_imports_on_every_system(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not {name for node in at_import(tree) for name in needs(node)}


@pytest.mark.parametrize(
    "planted",
    ["import fcntl", "from resource import getrlimit", "import signal\nEND = signal.SIGKILL", "class A:\n import pwd"],
)
def test_a_need_of_linux_at_import_is_found(planted: str) -> None:
    assert {name for node in at_import(ast.parse(planted)) for name in needs(node)}


def test_a_need_of_linux_inside_of_a_function_is_allowed() -> None:
    tree = ast.parse("import os\ndef end(): os.killpg(1, 2)")
    assert not {name for node in at_import(tree) for name in needs(node)}
