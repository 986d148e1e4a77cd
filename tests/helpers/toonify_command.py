"""Runs ``toonify`` in this process as a shell would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serving import cli

Toonify = Callable[..., tuple[int, str, str]]
"""A function from arguments to exit code, stdout and stderr."""


def toonify_command(built: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Toonify:
    """A function that runs the command ``built``, which is made by ``typer.main.get_command``."""
    monkeypatch.setattr(cli, "app", built)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["toonify", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code
        return (code if isinstance(code, int) else 0), *capsys.readouterr()

    return command
