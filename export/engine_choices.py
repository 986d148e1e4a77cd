"""The engines that exports chose on this machine, so that the next network of an architecture is not measured again."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.contract.atomic import atomic_file
from engines.contract.errors import ToonifyError
from engines.model_directory import Component, EngineName, Precision

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_CHOICES = 512
"""Number of choices that the file keeps; the oldest ones are dropped."""

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class EngineChoices:
    """A file of choices, or None, which keeps none.

    It only saves time: where it cannot be read or written, engines are measured again. With ``forget`` they are
    measured again in any case.
    """

    file: Path | None = None
    forget: bool = False

    def get(self, key: str) -> tuple[EngineName, Precision] | None:
        """Return the engine and precision that were the fastest, if they are known."""
        choice = None if self.forget else self._read().get(key)
        if isinstance(choice, list) and len(choice) == 2 and all(isinstance(part, str) for part in choice):
            return choice[0], choice[1]
        return None

    def remember(self, key: str, choice: tuple[EngineName, Precision]) -> None:
        """Store a choice as the newest."""
        if self.file is None:
            return
        choices = {name: value for name, value in self._read().items() if name != key} | {key: [*choice]}
        newest = dict([*choices.items()][-MAX_CHOICES:])
        with suppress(OSError, ToonifyError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.file, force=True) as partial_file:
                partial_file.write_text(json.dumps(newest, indent=1))

    def _read(self) -> dict[str, Any]:
        if self.file is None:
            return {}
        try:
            with self.file.open("rb") as file:
                content = json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def choice_key(
    component: Component,
    model: ModelProto,
    candidates: Sequence[tuple[EngineName, Precision]],
    versions: Mapping[str, str],
) -> str:
    """Return a key of all on which the fastest engine depends: a network's architecture, machine and versions."""
    shapes = [[tensor.data_type, *tensor.dims] for tensor in model.graph.initializer]
    machine = [_processor(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()]
    parts = [component, shapes, [*candidates], machine, sorted(versions.items())]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _processor() -> str:
    """The processor's model and features where the system tells them; other systems name less."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        return "\n".join(sorted({*re.findall(r"^(?:model name|flags|Features)\s*:.*", text, re.MULTILINE)}))
    return f"{platform.machine()} {platform.processor()}"
