"""Remote objects of the GPU benchmark that fail; a module of their own, so that their processes load nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

LONG = 300 * "x"


class RemoteObject:
    """Answers, raises and dies."""

    def answer(self, value: int) -> int:
        if value < 0:
            raise ValueError(f"below zero: {LONG}")
        return value + 1

    def die(self) -> None:
        os._exit(3)


class FaultyCases:
    """Cases of kernels, of which one ends its process as an illegal memory access may, and one is wrong."""

    def __init__(self, device: str) -> None: ...

    def names(self) -> list[str]:
        return ["first", "faulty", "wrong", "last"]

    def failure(self, case: str) -> str:
        if case == "faulty":
            os.kill(os.getpid(), signal.SIGSEGV)
        return "y: 1, half precision 0.1" if case == "wrong" else ""


class TiringSubject:
    """A subject that fails when it is timed again at batch 8."""

    def __init__(self, *arguments: object) -> None:
        self._timed: list[int] = []

    def load(self) -> float:
        return 1.5

    def check(self, batch: int) -> None: ...

    def time_calls(self, batch: int, seconds: float) -> SimpleNamespace:
        if batch in self._timed and batch == 8:
            raise RuntimeError("tired")
        self._timed.append(batch)
        return SimpleNamespace(device=(1.0, 2.0, 3.0), host=(4.0,), peak_bytes=2**20)


class FailingPreparation:
    """Cannot export."""

    def __init__(self, models: object, prepared: Path) -> None: ...

    def references(self) -> str:
        return ""

    def export(self, network: str) -> None:
        raise ValueError(f"{network}: {LONG}")
