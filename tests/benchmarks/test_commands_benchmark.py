from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import commands
from benchmarks.commands import CommandRow, busy_processes, table, timed
from benchmarks.errors import SubjectError

ROW = CommandRow("now", "abc", "a processor", "toonify-export blend, the demo models", "this", 0, 5.0, 6.0)


def test_the_table_compares_versions_and_counts_the_chosen_engines() -> None:
    rows = [
        replace(ROW, round=index, version=version, seconds=seconds, engine=f"winograd {precision}")
        for index, precision in enumerate(("int16", "int16", "fp32"))
        for version, seconds in (("this", 5.0), ("before", 20.0))
    ]
    text = table([*rows, replace(ROW, run="then", load=2, engine="winograd int16")])
    blend = "`toonify-export blend`, the demo models"
    chosen = "winograd int16, 2 of 3, winograd fp32, 1 of 3"
    assert f"| {blend} | 5 | 6 | 20 | 6 | 4.00 (4.00 to 4.00) | {chosen} |" in text
    assert f"| {blend}, beside 2 busy processes | 5 | 6 |  |  |  | winograd int16, 1 of 1 |" in text


def test_a_command_is_timed_and_one_that_fails_is_no_row(tmp_path: Path) -> None:
    with busy_processes(1):
        timing = timed(commands.ROOT, ("serving.start", "--version"), tmp_path)
    assert timing.seconds > 0
    assert timing.engine == ""
    with pytest.raises(SubjectError, match="ended with 1"):
        timed(commands.ROOT, ("export.start", "inspect", "absent.pt"), tmp_path)
