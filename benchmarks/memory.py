"""Resident memory of processes, from Linux's /proc."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


def return_freed_memory() -> None:
    """Return freed memory to the system; otherwise glibc keeps what was needed only during loading."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def prefer_oom_kill() -> None:
    """Make this process and its children the first that the kernel kills when memory runs out."""
    (PROC / "self" / "oom_score_adj").write_text("1000")


def reset_peaks(processes: Iterable[int]) -> None:
    """Reset each process's peak resident size to its current resident size."""
    for process in processes:
        (PROC / str(process) / "clear_refs").write_text("5")


def peak_bytes(processes: Iterable[int]) -> int:
    """Sum of the processes' peak resident sizes in bytes; memory that they share is counted in each."""
    # Not getrusage: its maximum survives exec, so a child would report its parent's.
    return sum(_status(process, "VmHWM") for process in processes)


def smaps_bytes(processes: Iterable[int], field: str) -> int:
    """Sum of a field of smaps_rollup: "Rss", or "Pss", where a page that k processes share counts 1/k in each."""
    texts = [(PROC / str(process) / "smaps_rollup").read_text() for process in processes]
    return 1024 * sum(int(size) for text in texts for size in re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE))


def resident_bytes() -> int:
    """Current resident size of this process in bytes."""
    return _status("self", "VmRSS")


def _status(process: int | str, field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", (PROC / str(process) / "status").read_text())
    return int(match[1]) * 1024 if match else 0
