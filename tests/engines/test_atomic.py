"""Outputs appear complete or not at all, and existing ones are never lost."""

from __future__ import annotations

import errno
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


def slow_and_quick_run(made: Output, target: Path) -> None:
    with made(target) as slow:
        write(made, slow, "slow")
        with made(target) as quick:
            assert slow != quick
            write(made, quick, "quick")


@both
def test_of_two_runs_on_one_output_the_slower_one_replaces_nothing(made: Output, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="another program made meanwhile"):
        slow_and_quick_run(made, tmp_path / "output.txt")
    assert read(made, tmp_path / "output.txt") == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["output.txt"]


@both
def test_an_output_that_was_made_meanwhile_is_replaced_by_force(made: Output, tmp_path: Path) -> None:
    target = tmp_path / "output.txt"
    with made(target, force=True) as path:
        write(made, path, "new")
        with made(target) as other:
            write(made, other, "made meanwhile")
    assert read(made, target) == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["output.txt"]


def test_a_file_system_without_hard_links_keeps_what_was_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "output.txt"
    with atomic_file(target) as path:
        path.write_text("first")
    assert target.read_text() == "first"
    target.unlink()
    with pytest.raises(ExportError, match="made meanwhile"), atomic_file(target) as path:
        target.write_text("meanwhile")
    assert target.read_text() == "meanwhile"
    assert [path.name for path in tmp_path.iterdir()] == ["output.txt"]


@both
def test_a_link_at_the_target_is_not_followed(made: Output, tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "output.txt"
    target.symlink_to(victim)
    with pytest.raises(ExportError, match="already there"), made(target):
        pytest.fail("entered")
    with made(target, force=True) as path:
        write(made, path, "new")
    assert not victim.exists()
    assert not target.is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["output.txt"]


def test_the_name_of_an_unfinished_file_cannot_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(5):
        with suppress(KeyboardInterrupt), atomic_file(tmp_path / "output.txt") as path:
            names.add(path.name)
            assert path.suffix == ".txt"
            raise KeyboardInterrupt
    assert len(names) == 5


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@both
def test_an_output_has_the_permissions_of_any_new_one(made: Output, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with made(tmp_path / "output.txt") as path:
            if made is atomic_file:
                path.unlink()
                path.touch(0o600)  # as a library does that writes a file of its own and renames it
    finally:
        os.umask(before)
    expected = (0o666 if made is atomic_file else 0o777) & ~umask
    assert (tmp_path / "output.txt").stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("name", ["a" * 246 + ".png", "a" * 255, "a." + "b" * 253, "ä" * 125 + ".mp4"])
@both
def test_the_longest_names_can_be_written(made: Output, tmp_path: Path, name: str) -> None:
    with made(tmp_path / name) as path:
        write(made, path, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@both
def test_a_full_disk_is_one_sentence(made: Output, tmp_path: Path) -> None:
    expected = pytest.raises(ExportError, match="'No space left on device' while it was written")
    with expected, made(tmp_path / "output"), Path("/dev/full").open("w") as full:
        full.write("more than fits")
    assert not any(tmp_path.iterdir())


@both
def test_a_full_disk_is_a_sentence_about_the_whole_output(made: Output, tmp_path: Path) -> None:
    expected = pytest.raises(ExportError, match=f"^{tmp_path}/output: got 'No space left on device'")
    with expected, atomic_directory(tmp_path / "output") as unfinished, made(unfinished / "part"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not any(tmp_path.iterdir())


@both
def test_another_error_keeps_its_own_words(made: Output, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), made(tmp_path / "output"):
        (tmp_path / "nowhere").read_text()


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="got a folder"), atomic_file(tmp_path, force=True):
        pytest.fail("entered")


def test_a_folder_replaces_a_file_by_force(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("old")
    with atomic_directory(tmp_path / "output", force=True) as path:
        write(atomic_directory, path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    assert read(atomic_directory, tmp_path / "output") == "new"


@both
@pytest.mark.parametrize("name", ["a" * 256, "b" * 256 + "/a.png", "/".join(["c" * 200] * 30)])
@pytest.mark.parametrize("force", [False, True])
def test_a_name_that_is_too_long_is_one_sentence(made: Output, tmp_path: Path, name: str, force: bool) -> None:
    with pytest.raises(ExportError, match="got a name that is too long for its folder"), made(tmp_path / name):
        pass
    assert not [*tmp_path.iterdir()]


@both
def test_what_the_system_does_not_allow_is_one_sentence(
    made: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "not shown", "a:b.png")  # as for a colon in a name on FAT

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    sentence = "got 'Invalid argument' where it was to be made"
    with pytest.raises(ExportError, match=sentence), made(tmp_path / "output", force=True):
        pass
    assert not [*tmp_path.iterdir()]


def test_a_file_of_its_owner_alone_is_so_from_its_beginning(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with atomic_file(tmp_path / "secret.txt", mode=0o600) as path:
            assert path.stat().st_mode & 0o777 == 0o600
            path.write_text("secret")
    finally:
        os.umask(before)
    assert (tmp_path / "secret.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    named: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda file: named.append((tmp_path / "a").exists()))
    with atomic_file(tmp_path / "a", force=force) as partial:
        partial.write_text("whole")
    assert named == [False]
    assert (tmp_path / "a").read_text() == "whole"
