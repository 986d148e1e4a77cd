"""Fuzzers: byte strings are made from a seed and given to a check, which raises where the package fails."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

Check = Callable[[bytes], None]
CORPUS = Path(__file__).parents[1] / "fuzzing" / "corpus"


@dataclass(frozen=True)
class Fuzzer:
    """Inputs of one kind and what must hold for each of them.

    ``make`` returns one input, a file's content or a description that ``check`` understands. ``checking`` opens what
    the check needs (a folder, a server) and yields the check, which returns when the input was read or refused as it
    should be. A ``server`` fuzzer starts the real server. ``short`` is the number of inputs that the test suite tries.
    """

    name: str
    make: Callable[[random.Random], bytes]
    checking: Callable[[Path], AbstractContextManager[Check]]
    short: int
    server: bool = False

    def corpus(self) -> list[Path]:
        """Files that once failed, or that stand for a kind of attack; ``tests/fuzzing/corpus/NAME``."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


@dataclass(frozen=True)
class Failure:
    """An input that failed: where it was saved and the traceback, last line first in a report."""

    path: Path
    report: str


def inputs(fuzzer: Fuzzer, *, seed: int, tries: int | None, seconds: float | None) -> Iterator[bytes]:
    """The inputs of one run: ``tries`` of them, or as many as fit into ``seconds``."""
    source, end = random.Random(seed), time.monotonic() + (seconds if seconds is not None else float("inf"))
    done = 0
    while (tries is None or done < tries) and time.monotonic() < end:
        yield fuzzer.make(source)
        done += 1


def fuzz(
    fuzzer: Fuzzer, folder: Path, *, seed: int, tries: int | None = None, seconds: float | None = None
) -> tuple[int, list[Failure]]:
    """Run ``fuzzer`` and return the number of inputs and the failures.

    Each input is written to ``folder/running`` before it is checked, so that the one that ends the process is there.
    """
    failures: list[Failure] = []
    folder.mkdir(parents=True, exist_ok=True)
    running, count = folder / "running", 0
    with fuzzer.checking(folder / "files") as check:
        for content in inputs(fuzzer, seed=seed, tries=tries, seconds=seconds):
            running.write_bytes(content)
            count += 1
            try:
                check(content)
            except Exception:
                failures.append(_saved(folder, content))
    running.unlink(missing_ok=True)
    return count, failures


def _saved(folder: Path, content: bytes) -> Failure:
    path = folder / sha256(content).hexdigest()[:16]
    path.write_bytes(content)
    return Failure(path, traceback.format_exc())
