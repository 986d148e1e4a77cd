"""Outputs appear complete or not at all, and existing ones are never lost."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from engines.contract.atomic import atomic_directory, atomic_file
from engines.contract.errors import ExportError


class Output(Protocol):
    def __call__(self, target: Path, *, force: bool = False) -> AbstractContextManager[Path]: ...


def write(made: Output, path: Path, text: str) -> None:
    """Write the text into the output file, or into a file of the output directory."""
    (path / "text" if made is atomic_directory else path).write_text(text)


def read(made: Output, path: Path) -> str:
    return (path / "text" if made is atomic_directory else path).read_text()


both = pytest.mark.parametrize("made", [atomic_directory, atomic_file])


@both
def test_an_output_appears_with_its_folders_when_it_is_whole(made: Output, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "output.txt"
    with made(target) as path:
        write(made, path, "whole")
        assert not target.exists()
    assert read(made, target) == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["output.txt"]


@both
def test_a_failure_leaves_what_was_there_before(made: Output, tmp_path: Path) -> None:
    target = tmp_path / "output.txt"
    with made(target) as path:
        write(made, path, "old")
    with suppress(RuntimeError), made(target, force=True) as path:
        write(made, path, "half")
        raise RuntimeError
    assert read(made, target) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["output.txt"]


@both
def test_an_output_is_replaced_only_by_force(made: Output, tmp_path: Path) -> None:
    target = tmp_path / "output.txt"
    for text, force in (("old", False), ("new", True)):
        with made(target, force=force) as path:
            write(made, path, text)
    with pytest.raises(ExportError, match="already there"), made(target):
        pytest.fail("entered")
    assert read(made, target) == "new"


@both
def test_a_place_below_a_file_is_refused(made: Output, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"got a place below .*/file, a file, expected"), made(tmp_path / "file/a/b"):
        pytest.fail("entered")


@both
def test_a_folder_that_takes_nothing_is_refused(made: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
    with pytest.raises(ExportError, match="which cannot be written"), made(tmp_path / "new" / "output"):
        pytest.fail("entered")
    assert not any(tmp_path.iterdir())


@both
def test_a_folder_that_only_seems_to_take_something_is_named(made: Output) -> None:
    with pytest.raises(ExportError, match=r"/proc/new/output: got .* at its folder"), made(Path("/proc/new/output")):
        pytest.fail("entered")
