"""Contents of files that a user names, of which no more is read than such a file may hold."""

from __future__ import annotations

from pathlib import Path

_MOST_TEXT = 2**20
"""Bytes of the largest text; files of keys, tokens and headers have some hundreds."""


class UnusableFileError(Exception):
    """Says ``why`` a file cannot be used, in a few words for the sentence of a ToonifyError."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def file_content(path: Path, most: int) -> bytes:
    """Read a whole file of at most ``most`` bytes.

    Raises:
        UnusableFileError: the file cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)  # a device has no size, and no end
    except OSError as error:
        raise UnusableFileError(error.strerror or "an unreadable file") from None
    return checked_size(data, most)


def checked_size(data: bytes, most: int) -> bytes:
    """Return the bytes if there are at most ``most``.

    Raises:
        UnusableFileError: there are more.
    """
    if len(data) > most:
        raise UnusableFileError(f"more than {most // 2**20} MiB")
    return data


def file_text(path: Path) -> str:
    """Read a small text file in UTF-8.

    Raises:
        UnusableFileError: the file cannot be read, is larger than 1 MiB, or holds something else.
    """
    try:
        return file_content(path, _MOST_TEXT).decode()
    except UnicodeDecodeError:
        raise UnusableFileError("a file that is no text") from None
