"""A child process and its descendants: none outlives the ``with`` block, and a death is noticed at once."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engines.contract.closing import Closing

PROC = Path("/proc")

_LONGEST_DEATH = 5.0
"""Seconds for the end of killed processes, which a driver may delay."""


@contextmanager
def process_group(
    command: Sequence[str], *, environment: Mapping[str, str], output: BinaryIO, largest_file: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` in a session of its own, which writes to ``output``, and kill what is left of it at the end.

    Because of the session, Ctrl-C in a terminal reaches only this process, which then ends the child in order.

    A write beyond ``largest_file`` bytes fails in the child and its descendants.
    """
    process = subprocess.Popen(
        [*_tie_to_this_process(), *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # Python ignores SIGXFSZ and so must the child, else a file that is too large would end it.
        restore_signals=False,
    )
    try:
        _limit_files(process, largest_file)
        yield process
    finally:
        # This is done even if the child has ended: the group exists as long as any of its members.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _reap(process.pid)


def processes_of_session(session: int) -> list[int]:
    """Ids of all processes of a session; the processes of a server that was started in its own session stay in it."""
    processes = []
    for path in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended meanwhile
            # The name, in parentheses, may contain any character; the session is the fourth field after it.
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                processes.append(int(path.parent.name))
    return processes


def command_line(process: int) -> list[str]:
    """Arguments of a process, its program first; none if it has ended."""
    try:
        return (PROC / str(process) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


class Deaths(Closing):
    """Waits for the end of any of some processes, without polling them; use it in a ``with`` block."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """Watch the processes with these ids; the names are what ``wait`` returns."""
        self._names: dict[int, str] = {}
        self._dead: set[str] = set()
        self._poll = select.poll()
        for process, name in names.items():
            try:
                descriptor = os.pidfd_open(process)
            except ProcessLookupError:
                self._dead.add(name)
            else:
                self._names[descriptor] = name
                self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> set[str]:
        """Return the names of those that have ended, as soon as there are any; an empty set after ``seconds``."""
        ended = self._poll.poll(0 if self._dead else 1000 * seconds)
        return self._dead | {self._names[descriptor] for descriptor, _ in ended}

    def close(self) -> None:
        """Stop watching."""
        for descriptor in self._names:
            os.close(descriptor)
        self._names = {}


def _reap(group: int) -> None:
    """Wait for the members of a killed group that have become children of this process.

    The first process of a container gets those whose parent has ended. Unless it waits for them, each restart of a
    server leaves some behind.
    """
    deadline = time.monotonic() + _LONGEST_DEATH
    with suppress(ChildProcessError):  # there are none, or no more
        while time.monotonic() < deadline:
            if os.waitpid(-group, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def _limit_files(process: subprocess.Popen[bytes], largest: int) -> None:
    import resource  # imported here, since Windows has none

    with suppress(ProcessLookupError):
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        limit = largest if most == resource.RLIM_INFINITY else min(largest, most)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, most))


def _tie_to_this_process() -> list[str]:
    """Return a command prefix that makes the kernel end the child if this process is killed."""
    setpriv = shutil.which("setpriv")
    # The kernel watches the thread that starts the child: if it is not the main thread, its end would end the child.
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM", "--"]
