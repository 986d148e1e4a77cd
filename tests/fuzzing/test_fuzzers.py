"""Every fuzzer's corpus passes, and a short run of made inputs; ``make fuzz`` runs them for long."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzer import Fuzzer, fuzz

from tests.fuzzing.fuzzers import FUZZERS

ALL = [
    pytest.param(fuzzer, id=name, marks=[pytest.mark.triton] if fuzzer.server else [])
    for name, fuzzer in FUZZERS.items()
]


@pytest.mark.parametrize("fuzzer", ALL)
def test_what_once_failed_passes(fuzzer: Fuzzer, tmp_path: Path) -> None:
    with fuzzer.checking(tmp_path / "files") as check:
        for path in fuzzer.corpus():
            check(path.read_bytes())


@pytest.mark.parametrize("fuzzer", ALL)
def test_a_short_run_finds_nothing(fuzzer: Fuzzer, tmp_path: Path) -> None:
    count, failures = fuzz(fuzzer, tmp_path, seed=1, tries=fuzzer.short)
    assert count == fuzzer.short
    assert not failures, failures[0].report
