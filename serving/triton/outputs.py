"""Logs of servers: files that a server writes itself, and lines that pass through this process."""

from __future__ import annotations

import os
import select
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from serving.triton.log import claimed, rotate, size_of, text_since
from serving.triton.log_lines import Level, LogFormat, json_from_triton, json_line

_LONGEST_LINE = 2**16
_KEPT = 2**20
"""Number of last bytes of a server's output in which the reason for a failure is searched."""
_MARK = b"\0\n"
"""Line that this process writes into a pipe itself; when it is read, so is all output before it."""
_READERS_TIME = 5.0
"""Seconds that the reader of the log has to take a line; none if it did not take the line before."""
_PATIENCE = 5.0
"""Seconds to wait until the rest of a pipe has been read."""


class Log(ABC):
    """Where the output of one server goes; ``str(log)`` names the place in messages to users."""

    @abstractmethod
    def claimed(self) -> AbstractContextManager[None]:
        """Claim the log for one server within the block.

        Raises:
            ServerError: another server has claimed it, or it cannot be written.
        """

    @abstractmethod
    def opened(self) -> AbstractContextManager[BinaryIO]:
        """Open a file for the output of a server that starts and ends within the block."""

    @abstractmethod
    def tidy(self) -> None:
        """Keep the log's size within bounds."""

    @abstractmethod
    def text(self) -> str:
        """Return what the last server has written, or the end of it."""


class FileLog(Log):
    """A file into which the server itself writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0

    def __str__(self) -> str:
        return str(self._path)

    def claimed(self) -> AbstractContextManager[None]:
        return _claimed(self._path)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        self._start = size_of(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as output:
            yield output

    def tidy(self) -> None:
        rotate(self._path)

    def text(self) -> str:
        return text_since(self._path, self._start)


class Lines:
    """Lines of a server and of this package, written to an open file, one at a time."""

    def __init__(self, descriptor: int, log_format: LogFormat) -> None:
        self._descriptor = descriptor
        self._json = log_format == "json"
        self._lock = threading.Lock()
        self._is_read, self._is_torn = True, False

    def tell(self, phrase: str, level: Level | None = None) -> None:
        """Write a line of this package; by default the level of a restart is "warning"."""
        level = level or ("warning" if phrase.startswith("restarting") else "info")
        text = f"toonify: {'error: ' if level == 'error' else ''}{phrase}"
        own = json_line("toonify", level, phrase, datetime.now(UTC)) if self._json else text
        self._write(f"{own}\n".encode(errors="surrogateescape"))

    def pass_on(self, line: bytes) -> None:
        """Write a line of the server's output; as JSON, empty lines are left out."""
        if self._json:
            if not line.strip():
                return
            line = f"{json_from_triton(line.decode(errors='replace').rstrip())}\n".encode()
        self._write(line)

    def _write(self, line: bytes) -> None:
        """Write a line, or lose it: neither a full disk nor a reader that has gone or sleeps may stop the server."""
        with self._lock, suppress(OSError):
            if self._is_torn:
                line = b"\n" + line
            while line:
                if not self._takes_more():
                    return
                # No more than a pipe that takes something is sure to take at once.
                written = os.write(self._descriptor, line[: select.PIPE_BUF])
                line = line[written:]
                self._is_torn = bool(line)

    def _takes_more(self) -> bool:
        """Return whether it can be written, for which a reader that has taken the line before has some seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        self._is_read = bool(poll.poll(1000 * _READERS_TIME if self._is_read else 0))
        return self._is_read


class RelayedLog(Log):
    """A log whose lines pass through this process to a function; nothing bounds it."""

    def __init__(self, name: str, lines: Callable[[bytes], None]) -> None:
        """``lines`` is called with each line."""
        self._name, self._pass_on = name, lines
        self._recent = bytearray()
        self._is_read = threading.Event()
        self._pipe: BinaryIO | None = None

    def __str__(self) -> str:
        return self._name

    @contextmanager
    def claimed(self) -> Iterator[None]:
        yield

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        self._recent.clear()
        read, write = os.pipe()
        # A process that outlives its server would hold the pipe open, and must not keep this one from ending.
        reader = threading.Thread(target=self._read, args=(read,), daemon=True)
        reader.start()
        try:
            with os.fdopen(write, "wb", buffering=0) as self._pipe:
                yield self._pipe
        finally:
            self._pipe = None
            reader.join(_PATIENCE)

    def tidy(self) -> None:
        pass

    def text(self) -> str:
        if self._pipe:  # what the server wrote last may still be on its way
            self._is_read.clear()
            self._pipe.write(_MARK)
            self._is_read.wait(_PATIENCE)
        return bytes(self._recent).decode(errors="replace")

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            while line := pipe.readline(_LONGEST_LINE):
                if line.endswith(_MARK):
                    self._is_read.set()
                    line = line.removesuffix(_MARK)
                if line:
                    self._recent += line
                    del self._recent[:-_KEPT]
                    self._pass_on(line)


class JsonFileLog(RelayedLog):
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), self._to_file)
        self._path = path
        self._lines: Lines | None = None

    @contextmanager
    def claimed(self) -> Iterator[None]:
        with _claimed(self._path), self._path.open("ab", buffering=0) as file:
            self._lines = Lines(file.fileno(), "json")
            yield

    def tidy(self) -> None:
        rotate(self._path)

    def _to_file(self, line: bytes) -> None:
        assert self._lines, "a log is claimed before it is written"
        self._lines.pass_on(line)


def _claimed(path: Path) -> AbstractContextManager[None]:
    return claimed(path, alternative="choose another with --log, or --log - for standard output")
