"""Resident memory of processes, from Linux's /proc."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def processes_of_session(session: int) -> list[int]:
    """Ids of all processes of a session, which a server started in its own one never leave."""
    found = []
    for path in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            # The name, in parentheses, may hold anything; the session is the fourth field after it.
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                found.append(int(path.parent.name))
    return found


def return_freed_memory() -> None:
    """Give back what this process has freed: else glibc keeps what was needed for loading only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def be_killed_first() -> None:
    """Where memory runs out, the system shall end this process or its children, and nobody else's."""
    (PROC / "self" / "oom_score_adj").write_text("1000")


def reset_peaks(processes: Iterable[int]) -> None:
    """Start the peaks anew at what is resident now."""
    for process in processes:
        (PROC / str(process) / "clear_refs").write_text("5")


def peak_bytes(processes: Iterable[int]) -> int:
    """Sum of the processes' peaks; memory that they share is counted in each."""
    # Not getrusage: its maximum survives exec, and so a child would report its parent's.
    return sum(_status(process, "VmHWM") for process in processes)


def rollup_bytes(processes: Iterable[int], field: str) -> int:
    """Sum over processes: of "Rss", or of "Pss", where a page that k processes share counts 1/k in each."""
    texts = [(PROC / str(process) / "smaps_rollup").read_text() for process in processes]
    return 1024 * sum(int(size) for text in texts for size in re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE))


def resident_bytes() -> int:
    """Of this process, now."""
    return _status("self", "VmRSS")


def _status(process: int | str, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", (PROC / str(process) / "status").read_text())
    return int(found[1]) * 1024 if found else 0
