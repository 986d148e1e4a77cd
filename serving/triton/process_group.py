"""A child process with all of its own children, of which nothing outlives the ``with`` block."""

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
    """Run ``command`` in a session of its own, its output appended to ``log``; kill what is left of it at the end.

    Its own session: Ctrl-C in a terminal reaches only this process, which then ends the other in order. A file and no
    pipe: a grandchild that outlives the child would hold a pipe open, and its reader, for ever.
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
        # Also when the child has ended: the group lives as long as any of its members.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tie_to_this_process() -> list[str]:
    """A prefix that lets the kernel end the child when this process is killed and can do nothing itself any more."""
    setpriv = shutil.which("setpriv")
    # The kernel watches the thread that starts the child: one that ends before the process would end the child too.
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM", "--"]
