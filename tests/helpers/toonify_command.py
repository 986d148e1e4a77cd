"""``toonify`` as a shell would run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serving import cli

Toonify = Callable[..., tuple[int, str, str]]
"""Arguments -> exit code, stdout and stderr."""


def toonify_command(built: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Toonify:
    """``built`` is the command as ``typer.main.get_command`` makes it."""
    monkeypatch.setattr(cli, "app", built)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["toonify", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code
        return (code if isinstance(code, int) else 0), *capsys.readouterr()

    return command
