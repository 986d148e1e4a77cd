"""The folder in which a server finds what it needs while it runs, and what a start meets on a machine that is full."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.contract.atomic import DISK_ERRORS
from engines.contract.errors import ServerError

_SHORTAGES = DISK_ERRORS | {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
"""What the system reports when disk, memory, processes or files are exhausted."""


@contextmanager
def scratch_folder(*, longest: int | None = None) -> Iterator[Path]:
    """Make a folder in the user's folder for temporary files, or in /tmp, and remove it at the end of the block.

    ``longest`` bounds the path of the user's folder, since a socket's path has at most 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="toonify-", dir=_parent(longest)) as folder:
        yield Path(folder)


@contextmanager
def shortages(subject: str = "Triton server") -> Iterator[None]:
    """Raise ServerError about ``subject`` where the machine lacks what it may have again later, for another start."""
    try:
        yield
    except OSError as error:
        if error.errno not in _SHORTAGES:
            raise
        place = error.filename2 or error.filename
        raise ServerError(
            f"{subject}{f' at {place}' if place else ''}",
            got=os.strerror(error.errno or 0),
            expected="memory and room for its processes and files",
            remedy="free some of it",
        ) from None


def _parent(longest: int | None) -> str | None:
    """Return "/tmp" if the path of the user's folder for temporary files does not do, else None (the default).

    It must be shell-safe: Triton's python backend starts its processes by ``bash -c`` with unquoted paths. A space in
    one ends the process while the server waits for it forever, and ``$(command)`` would be executed.
    """
    safe = re.fullmatch(r"[\w.,:+@%=/-]+", tempfile.gettempdir(), re.ASCII)
    short = longest is None or len(tempfile.gettempdir()) <= longest
    return None if safe and short else "/tmp"
