"""The blends that one call of ``toonify-export blend`` asks for, and the names of their model directories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import ExportError
from export.options import joined_name

LIVE_R_SWAP = 16
"""The blend of requests to a live model that choose none, if the export names none either."""

MAX_NAME = 60
"""Characters of a schedule's part of a name."""


@dataclass(frozen=True)
class BlendRequest:
    """One blend: the values of ``--r-swap`` and ``--schedule``, of which one is None."""

    r_swap: int | None
    schedule: str | None

    def name(self, compat: str | None, resolution: int | None, *, reverse: bool) -> str:
        """Return the default name of its model directory."""
        swap = None if self.r_swap is None else f"r{self.r_swap}"
        rule = self.schedule or ""
        rule = Path(rule).stem if rule.endswith(".json") else rule
        schedule = re.sub(r"[^A-Za-z0-9]+", "-", rule).strip("-")[:MAX_NAME]
        return joined_name("blend", (compat or "").split(":")[0], swap, schedule, "reverse" * reverse, resolution)


def requests_from_options(r_swap: str | None, schedules: Sequence[str], *, live: bool) -> list[BlendRequest]:
    """Return the blends that the values of ``--r-swap`` and ``--schedule`` ask for.

    Raises:
        ExportError: an r_swap is no number.
    """
    if live and not (r_swap or schedules):
        r_swap = str(LIVE_R_SWAP)
    swaps = [_resolution(text) for text in r_swap.split(",")] if r_swap else []
    if len(swaps) <= 1 and len(schedules) <= 1:  # that not both are given is checked with the other options
        return [BlendRequest(swaps[0] if swaps else None, schedules[0] if schedules else None)]
    return [BlendRequest(swap, None) for swap in swaps] + [BlendRequest(None, schedule) for schedule in schedules]


def names_of(
    requests: Sequence[BlendRequest],
    name: str | None,
    compat: str | None,
    resolution: int | None,
    *,
    reverse: bool,
    live: bool,
) -> list[str]:
    """Return the name of each blend's model directory, which ``name`` gives if there is only one.

    Raises:
        ExportError: several blends have one name, or are to be the default of one live model.
    """
    names = _names(name, [request.name(compat, resolution, reverse=reverse) for request in requests])
    if not live:
        return names
    if len(names) > 1:
        raise ExportError(
            "The blends with --live",
            got=f"{len(names)}",
            expected="one, which is the default of a model that makes all of them",
            remedy="give one --r-swap or --schedule",
        )
    return [name or joined_name("live", resolution)]


def _resolution(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > MAX_NAME:
        raise ExportError(
            "--r-swap",
            got=repr(text),
            expected="a resolution, or several with commas, such as 16,32",
            remedy="correct it",
        )
    return int(text)


def _names(name: str | None, defaults: Sequence[str]) -> list[str]:
    if len(defaults) == 1:
        return [name or defaults[0]]
    if name or len({*defaults}) < len(defaults):
        raise ExportError(
            "The blends",
            got=f"{len(defaults)} with {f'the name {name}' if name else 'names of which two are equal'}",
            expected="a name of its own for each",
            remedy="leave --name out" if name else "make them one by one, with --name",
        )
    return [*defaults]
