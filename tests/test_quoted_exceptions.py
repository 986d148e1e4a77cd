"""No sentence for users quotes an exception's message: it speaks of Python or of a library, not of the user's file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("engines", "export") for path in (ROOT / folder).rglob("*.py"))


def quotations(source: str) -> Iterator[int]:
    """The lines on which a handler turns the exception that it has caught into text."""
    for handler in ast.walk(ast.parse(source)):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            for node in ast.walk(handler):
                match node:
                    case ast.Call(func=ast.Name("str" | "repr"), args=[ast.Name(name)]) if name == handler.name:
                        yield node.lineno
                    case ast.FormattedValue(value=ast.Name(name)) if name == handler.name:
                        yield node.lineno
                    case ast.Attribute(value=ast.Name(name), attr="args") if name == handler.name:
                        yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_handler_quotes_what_it_caught(path: Path) -> None:
    assert list(quotations(path.read_text())) == []


@pytest.mark.parametrize("quotation", ["str(error)", 'f"damaged: {error}"', "error.args[0]"])
def test_quotations_are_found(quotation: str) -> None:
    assert list(quotations(f"try:\n    pass\nexcept ValueError as error:\n    print({quotation})\n")) == [4]
