"""Atomic outputs: each is written beside its target and renamed once it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.contract.errors import ExportError


def check_output(target: Path, *, force: bool) -> None:
    """Raise ExportError if ``target`` exists and ``force`` is not given, or if its folder is not writable."""
    if target.exists() and not force:
        raise ExportError(
            str(target),
            got="an output that is already there",
            expected="a new path",
            remedy="choose another output or give --force to replace it",
        )
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable_output(
            target, f"a place below {folder}, {'which cannot be written' if folder.is_dir() else 'a file'}"
        )


def _make_folder(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # Permissions do not show every obstacle, for example in /proc or on a network share.
        raise _unwritable_output(target, f"{error.strerror} at its folder") from None


def _unwritable_output(target: Path, got: str) -> ExportError:
    return ExportError(str(target), got=got, expected="a place in a folder of yours", remedy="choose another output")


@contextmanager
def atomic_directory(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty directory that is renamed to ``target`` when the block ends without an error.

    Raises:
        ExportError: see ``check_output``.
    """
    check_output(target, force=force)
    _make_folder(target)
    # It lies beside the target, not in the system's temporary folder: a rename is atomic within one file system only.
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        staging.chmod(0o755)
        yield staging
        old = staging.with_name(staging.name + "-old")
        if target.exists():
            target.rename(old)
        staging.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def atomic_file(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a path beside ``target``; the file there is renamed to ``target`` when the block ends without an error.

    Raises:
        ExportError: see ``check_output``.
    """
    with_suffix = target.with_name(f".{target.stem}-partial{target.suffix}")
    check_output(target, force=force)
    _make_folder(target)
    try:
        yield with_suffix
        with_suffix.replace(target)
    finally:
        with_suffix.unlink(missing_ok=True)
