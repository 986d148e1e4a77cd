"""Outputs that are written whole or not at all: a temporary neighbour, then one rename."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import ExportError


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raise ExportError where ``target`` is already there and ``force`` is not given."""
    if target.exists() and not force:
        raise ExportError(
            str(target),
            got="an output that is already there",
            expected="a new path",
            remedy="choose another output or give --force to replace it",
        )


@contextmanager
def atomic_directory(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes ``target`` when the block ends without an error.

    Raises:
        ExportError: ``target`` exists and ``force`` is false.
    """
    refuse_existing(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A neighbour, not the system's temporary folder: rename is atomic within one file system only.
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
    """Yield a path beside ``target`` that is renamed to it when the block ends without an error.

    Raises:
        ExportError: ``target`` exists and ``force`` is false.
    """
    with_suffix = target.with_name(f".{target.stem}-partial{target.suffix}")
    refuse_existing(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield with_suffix
        with_suffix.replace(target)
    finally:
        with_suffix.unlink(missing_ok=True)
