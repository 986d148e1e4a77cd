"""The files that a command reads, and those that it writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import RequestError


@dataclass(frozen=True)
class FileKind:
    """What a command reads and writes.

    ``name``: what one such file is called.
    ``found``: suffixes of the files of a folder that are taken; a file given by name is opened whatever its suffix.
    ``kept``: suffixes that an output may have.
    ``otherwise``: the suffix of an output whose input has another one.
    """

    name: str
    found: frozenset[str]
    kept: frozenset[str]
    otherwise: str


@dataclass(frozen=True)
class Job:
    """A file to read and the file, or folder, to write."""

    source: Path
    target: Path


def files_in(inputs: Sequence[Path], kind: FileKind) -> list[Path]:
    """Return the files among ``inputs``, and those of a kind in the folders among them, sorted by name.

    Raises:
        RequestError: a folder contains none, or cannot be read.
    """
    files: list[Path] = []
    for path in inputs:
        found = _files_of(path, kind) if path.is_dir() else [path]
        if not found:
            raise _refused(path, f"no {kind.name} in it", "at least one", "give another folder")
        files += found
    return files


def jobs_of(
    files: Sequence[Path],
    output: Path,
    kind: FileKind,
    *,
    in_folder: bool,
    suffix: str | None = None,
    in_place: bool = False,
) -> list[Job]:
    """Return a job for each file; its target is ``output``, or with ``in_folder`` the file's name in that folder.

    Names in a folder end in ``suffix``; None keeps the file's suffix, or takes ``kind.otherwise`` if that format cannot
    be written. With ``in_place`` a file may be its own target.

    Raises:
        RequestError: a file exists where the folder should be, two targets have one name, or a target is an input.
    """
    if in_folder and output.is_file():
        raise _refused(output, "a file", "a folder", "choose another output")
    jobs = [Job(file, output / _named(file, kind, suffix) if in_folder else output) for file in files]
    resolved = _Resolved()
    originals = set() if in_place else {resolved.path(file) for file in files}
    seen = set[Path]()
    for job in jobs:
        if job.target in seen:
            raise _refused(job.target, f"two {kind.name}s of that name", "one", "run the command once for each")
        if originals and resolved.path(job.target) in originals:
            raise _refused(job.target, "one of the inputs", "another file", "choose another output")
        seen.add(job.target)
    return jobs


class _Resolved:
    """Resolves many paths in few folders: each folder is resolved once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def path(self, path: Path) -> Path:
        if path.is_symlink():
            return _resolved(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = _resolved(path.parent)
        return self._folders[path.parent] / path.name


def _resolved(path: Path) -> Path:
    # Path.resolve raises RuntimeError where links form a circle, before Python 3.13.
    return Path(os.path.realpath(path))


def _files_of(folder: Path, kind: FileKind) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            # A leading dot marks the unfinished file of a run.
            paths = [folder / entry.name for entry in entries if not entry.name.startswith(".") and _is_file(entry)]
    except OSError as error:
        raise _refused(folder, error.strerror or "an unreadable folder", "a folder", "give another folder") from None
    return sorted(path for path in paths if path.suffix.lower() in kind.found)


def _is_file(entry: os.DirEntry[str]) -> bool:
    # The folder's listing tells what is a file; asking for each of ten thousand takes long on a network's disk.
    # Links are asked for: DirEntry.is_file raises OSError for links in a circle, which are no files.
    return Path(entry).is_file() if entry.is_symlink() else entry.is_file()


def _named(file: Path, kind: FileKind, suffix: str | None) -> str:
    if suffix is None:
        suffix = file.suffix if file.suffix.lower() in kind.kept else kind.otherwise
    return f"{file.stem}{suffix}"


def _refused(path: Path, got: str, expected: str, remedy: str) -> RequestError:
    return RequestError(str(path), got=got, expected=expected, remedy=remedy)
