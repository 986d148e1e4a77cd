"""Runs the command ``toonify-export`` in the test's process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Result = tuple[int, str, str]
"""Exit code, standard output, standard error."""

Command = Callable[..., Result]


def export_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``toonify-export`` with its arguments."""
    from export import cli

    def call(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["toonify-export", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return call
