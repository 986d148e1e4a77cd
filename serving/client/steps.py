"""The steps of which the clients' operations consist."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class Rpc:
    """A remote call: a method of tritonclient's ``InferenceServerClient`` and its arguments."""

    method: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Pause:
    """A wait of this many seconds."""

    seconds: float


@dataclass(frozen=True)
class Blocking:
    """A call of this function, which blocks for a moment, without stopping an event loop."""

    function: Callable[[], Any]


T = TypeVar("T")
Step = Rpc | Pause | Blocking
Operation = Generator[Step, Any, T]
