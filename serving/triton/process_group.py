"""A child process and its descendants, none of which outlives the ``with`` block."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def process_group(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` in a session of its own, append its output to ``log``, and kill what is left of it at the end.

    Because of the session, Ctrl-C in a terminal reaches only this process, which then ends the child in order. The
    output goes to a file because a grandchild that outlives the child would hold a pipe open and block its reader.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*_tie_to_this_process(), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # This is done even if the child has ended: the group exists as long as any of its members.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tie_to_this_process() -> list[str]:
    """Return a command prefix that makes the kernel end the child if this process is killed."""
    setpriv = shutil.which("setpriv")
    # The kernel watches the thread that starts the child: if it is not the main thread, its end would end the child.
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM", "--"]
