"""A plugin of pytest: where the variable CI is set, a skipped test has failed.

Continuous integration has all that the tests need but special hardware and photographs of people, so a skip there is an
installation that went wrong. Tests with the marker ``gpu``, ``photographs``, ``node`` or ``ray`` may be skipped, and
off x86-64 those with the marker ``x86``.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator

import pytest

IS_X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and not _may_be_skipped(item):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason}; continuous integration must not skip this test"
    return report


def _may_be_skipped(item: pytest.Item) -> bool:
    elsewhere = any(item.get_closest_marker(name) for name in ("gpu", "photographs", "node", "ray"))
    return bool(elsewhere or (item.get_closest_marker("x86") and not IS_X86))
