"""Files whose SHA-256 is known: what is loaded is what was hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path

from engines.contract.errors import ModelDirectoryError

_OPENED = Path("/proc/self/fd")
"""Linux's folder of what this process has opened; other systems have none."""


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes.

    Raises:
        ModelDirectoryError: the file cannot be read.
    """
    with _readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: Path, most: int | None = None) -> bytes:
    """Return the bytes of a file.

    Raises:
        ModelDirectoryError: the file cannot be read, or has more than ``most`` bytes, of which no more are read.
    """
    with _readable(path), path.open("rb") as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise altered(path, "a larger file", f"at most {most} bytes")
    return content


def hashed_bytes(path: Path, expected: str | None, *, most: int | None = None) -> bytes:
    """Return the bytes of a file; with ``expected``, exactly those bytes have this SHA-256.

    Raises:
        ModelDirectoryError: they have another one, or see ``content_of``.
    """
    content = content_of(path, most)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise _changed(path)
    return content


@contextmanager
def opened_files(directory: Path, hashes: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Open files, check their SHA-256, and yield by name where each can be opened again.

    That leads to the opened file, also when another one has got its name meanwhile. Where the system offers no such
    place, it is the file's own path.

    Raises:
        ModelDirectoryError: a file is missing or has another hash; or it was replaced or written within the block.
    """
    with ExitStack() as stack:
        files = {name: stack.enter_context(_opened(directory / name, digest)) for name, digest in hashes.items()}
        states = {name: _state(os.fstat(file.fileno())) for name, file in files.items()}
        for name, file in files.items():
            _check(directory / name, file, hashes[name])
        yield {name: _place(directory / name, file) for name, file in files.items()}
        for name, state in states.items():
            with _readable(directory / name):
                status = (directory / name).stat()
            if _state(status) != state:
                raise _changed(directory / name)


def altered(path: Path, got: str, expected: str) -> ModelDirectoryError:
    """The error about a model directory whose file ``path`` is not what its manifest says."""
    return ModelDirectoryError(
        str(path), got=got, expected=expected, remedy="copy the model directory again or export it again"
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise ModelDirectoryError where the system says that a file cannot be read."""
    try:
        yield
    except OSError as error:
        raise ModelDirectoryError(
            str(path),
            got=error.strerror or "an unreadable file",
            expected="a file that can be read",
            remedy="let this user read it, or copy the folder again",
        ) from None


def _opened(path: Path, expected: str) -> BufferedReader:
    if not path.is_file():  # a pipe would never end
        raise altered(path, "no such file", f"the file with sha256 {expected[:12]} that the manifest names")
    with _readable(path):
        return path.open("rb")


def _check(path: Path, file: BufferedReader, expected: str) -> None:
    with _readable(path):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        got, wanted = f"a file with sha256 {digest[:12]}", f"the file with sha256 {expected[:12]}"
        raise altered(path, got, f"{wanted} that the manifest names")


def _place(path: Path, file: BufferedReader) -> Path:
    return _OPENED / str(file.fileno()) if _OPENED.is_dir() else path


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written; a write cannot set the time of the last change back."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: Path) -> ModelDirectoryError:
    return altered(path, "a file that changed while it was loaded", "the same file until the model is loaded")
