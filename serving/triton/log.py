"""A Triton server's log: claimed by one server, bounded in size, and read for the reason why a server did not start."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engines.contract.errors import ServerError

LARGEST_LOG = 16 * 2**20
KEPT_LOGS = 3

_OPEN_FILES = Path("/proc/self/fd")

_STATUS_AND_CLASS = r"(?:(?:Internal|Invalid argument|Not found|Unavailable)(?:: | - ))?(?:\w+(?:Error|Exception): )?"
_PATTERNS = (
    # A model's own failure comes first: the models that depend on it fail too, with less informative messages.
    rf"""(?P<model>failed to load '[^']+') version \d+: {_STATUS_AND_CLASS}(?P<why>.+?)(?:\\n.*)?"$""",
    r"""(?P<model>Poll failed for model directory '[^']+'): (?P<why>.+)"$""",
    r"""model_repository_manager\.cc.*"Invalid argument: (?P<why>.+)"$""",
    rf"""^error: (?:creating server: )?{_STATUS_AND_CLASS}(?P<why>.+)$""",
    r"""^.*tritonserver: (?P<why>(?:unrecognized )?option .+)$""",
    r"""^(?P<why>Bad option: .+)$""",
    r"""error while loading shared libraries: (?P<why>.+)$""",
)


def reason_of_failure(log: str) -> str | None:
    """Return the first cause named in the text of a server's log, without tracebacks; None if it names none."""
    for pattern in _PATTERNS:
        match = re.search(pattern, log, re.MULTILINE)
        if match:
            parts = match.groupdict()
            return ": ".join(part for part in (parts.get("model"), parts["why"].rstrip(".")) if part)
    return None


@contextmanager
def locked(log: Path, *, alternative: str = "choose another with --log") -> Iterator[None]:
    """Claim a log for this process until the end of the ``with`` block; a device may have any number of writers.

    ``alternative`` tells users what to do where the file cannot be written.

    Raises:
        ServerError: another process has claimed it, it cannot be written, or it is no file of its own.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.is_fifo():  # opening it would wait for a reader
            raise _no_log(log, "a pipe", alternative)
        file = log.open("ab")
    except OSError as error:
        raise _no_log(log, os.strerror(error.errno or 0), alternative) from None
    with file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            _lock(file, log, alternative)
        yield


def _lock(file: BinaryIO, log: Path, alternative: str) -> None:
    import fcntl  # imported here, since Windows has none

    if _is_open_file(log):  # emptying it would destroy what others write there
        raise _no_log(log, "a file that is open already", alternative, expected="one of its own")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServerError(
            f"log {log}",
            got="the log of a server that is running",
            expected="one server for each log",
            remedy="stop that server, or choose another log with --log",
        ) from None


def _no_log(log: Path, got: str, remedy: str, *, expected: str = "a file that can be written") -> ServerError:
    return ServerError(f"log {log}", got=got, expected=expected, remedy=remedy)


def _is_open_file(log: Path) -> bool:
    """Return whether a path stands for a file that this process was given open, as ``/dev/stdout`` does."""
    while log.is_symlink():
        if log.parent.resolve() == _OPEN_FILES.resolve():
            return True
        log = log.parent / log.readlink()
    return False


@contextmanager
def claimed(log: Path, *, alternative: str = "choose another with --log") -> Iterator[None]:
    """Claim a log as ``locked`` does, and empty it; what the run before has written stays, as LOG.1."""
    with locked(log, alternative=alternative):
        rotate(log, largest=0)
        yield


def size_of(log: Path) -> int:
    """Bytes of a log; 0 if it is missing."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def text_since(log: Path, start: int) -> str:
    """The text of a log from a byte on, all of it if it has been emptied meanwhile; "" if it cannot be read."""
    size = size_of(log)
    with suppress(OSError), log.open("rb") as file:
        file.seek(start if start < size else 0)
        return file.read(size).decode(errors="replace")  # a device has no size, and might never end
    return ""


def rotate(log: Path, *, largest: int = LARGEST_LOG) -> None:
    """Move the content of a log that exceeds ``largest`` bytes to LOG.1, what was there to LOG.2, and so on.

    The file itself is emptied, not renamed, since the server has it open for appending. What the server writes between
    the copy and that moment is lost, and so is everything where there is no room for a copy. A log that cannot be
    emptied, as on a disk that has become read-only, is left as it is.
    """
    if size_of(log) <= largest:
        return
    names = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, KEPT_LOGS + 1))]
    with suppress(OSError):
        for older, newer in zip(names[:1:-1], names[-2:0:-1], strict=True):
            if newer.exists():
                newer.replace(older)
        shutil.copyfile(log, names[1])
    with suppress(OSError):
        os.truncate(log, 0)
