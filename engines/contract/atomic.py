"""Atomic outputs: each is written beside its target under a random name, and gets its own name once it is complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engines.contract.errors import ExportError

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What a write reports when the disk, and not the program, is the reason."""

_LONGEST_SUFFIX = 32
_UNFINISHED = re.compile(r"\.partial-[0-9a-f]{16}")


def check_output(target: Path, *, force: bool) -> None:
    """Raise ExportError if ``target`` exists and ``force`` is not given, or if it cannot be made where it is to be."""
    _check_length(target)
    if os.path.lexists(target) and not force:
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


@contextmanager
def atomic_directory(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes ``target`` when the block ends without an error.

    Raises:
        ExportError: see ``check_output``; ``target`` was made meanwhile and ``force`` is false; or the disk is full.
    """
    check_output(target, force=force)
    _make_folder(target)
    staging = _free_name(target)
    with _disk_errors(target):
        with _refusals(target):
            staging.mkdir()
        try:
            yield staging
            with _refusals(target):
                _replace_directory(staging, target) if force else _publish_directory(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def atomic_file(target: Path, *, force: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yield the path of an empty file that becomes ``target`` when the block ends without an error.

    The path has the suffix of ``target``. The file gets the permissions of every new file, whatever writes it, or from
    its beginning those of ``mode``, from which the umask takes what it takes from every file.

    Raises:
        ExportError: see ``check_output``; ``target`` is a folder, or was made meanwhile and ``force`` is false; or the
            disk is full.
    """
    check_output(target, force=force)
    if target.is_dir():
        raise _unwritable_output(target, "a folder")
    _make_folder(target)
    partial = _free_name(target)
    with _disk_errors(target):
        with _refusals(target):
            # O_EXCL never follows a link that another user planted in a shared folder.
            file = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            permissions = os.fstat(file).st_mode
            os.close(file)
            yield partial
            with _refusals(target):
                _flush_to_disk(partial)
                partial.chmod(permissions)
                partial.replace(target) if force else _publish_file(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def _check_length(target: Path) -> None:
    try:
        os.lstat(target)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _unwritable_output(target, "a name that is too long for its folder") from None


def _free_name(target: Path) -> Path:
    # It lies beside the target, not in the system's temporary folder: a rename is atomic within one file system only.
    # It does not contain the target's name, which may be as long as the file system allows.
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
    return target.with_name(f".partial-{secrets.token_hex(8)}{suffix}")


def _flush_to_disk(partial: Path) -> None:
    """Write the contents to the disk before the file gets its name: after a power loss it could be an empty one's."""
    with partial.open("r+b") as file:
        os.fsync(file.fileno())


def _publish_file(partial: Path, target: Path) -> None:
    """Give the file its name unless another file has it; rename would replace that one."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise _made_meanwhile(target) from None
    except OSError:  # a file system without hard links, such as FAT: the name is taken by an empty file first
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise _made_meanwhile(target) from None
        partial.replace(target)


def _publish_directory(staging: Path, target: Path) -> None:
    """Give the directory its name unless something has it; rename replaces an empty directory alone."""
    try:
        target.mkdir()
    except FileExistsError:
        raise _made_meanwhile(target) from None
    _rename(staging, target)


def _replace_directory(staging: Path, target: Path) -> None:
    old = _free_name(target)
    try:
        with suppress(FileNotFoundError):
            target.rename(old)
        _rename(staging, target)
    except BaseException:
        with suppress(OSError):
            old.rename(target)
        raise
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def _rename(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except (FileExistsError, NotADirectoryError):
        raise _made_meanwhile(target) from None
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise _made_meanwhile(target) from None
        raise


def _make_folder(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # Permissions do not show every obstacle, for example in /proc or on a network share.
        raise _unwritable_output(target, f"{error.strerror} at its folder") from None


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Within an unfinished directory, that one says so: the name of its parts is none that anyone knows.
        if error.errno not in DISK_ERRORS or any(_UNFINISHED.match(parent.name) for parent in target.parents):
            raise
        raise full_disk(str(target), error) from None


@contextmanager
def _refusals(target: Path) -> Iterator[None]:
    """Within the block, what the system does not allow, such as a name with a colon on FAT, is an ExportError."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise _unwritable_output(target, f"{os.strerror(error.errno or 0)!r} where it was to be made") from None


def full_disk(subject: str, error: OSError) -> ExportError:
    """The error that says what a write of ``subject`` met; ``error`` is one of DISK_ERRORS."""
    return ExportError(
        subject,
        got=f"{os.strerror(error.errno or 0)!r} while it was written",
        expected="room for the whole output",
        remedy="free some space or choose another output",
    )


def _unwritable_output(target: Path, got: str) -> ExportError:
    return ExportError(str(target), got=got, expected="a place in a folder of yours", remedy="choose another output")


def _made_meanwhile(target: Path) -> ExportError:
    return ExportError(
        str(target),
        got="an output that another program made meanwhile",
        expected="none",
        remedy="choose another output or give --force to replace it",
    )
