"""What a server consists of, and how its ensembles are withdrawn before it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.triton.canary import Canary
from serving.triton.process_group import command_line, processes_of_session
from serving.triton.served_models import ServedModels


def names_of_processes(server: int) -> dict[int, str]:
    """Return what a server's lasting processes are, by id: the server itself and one for each python model."""
    names = {server: "Triton server"}
    for process in processes_of_session(server):
        program, *arguments = command_line(process) or [""]
        if program.endswith("triton_python_backend_stub"):
            names[process] = f"model {Path(arguments[0]).parents[1].name!r}"  # .../MODEL/VERSION/model.py
    return names


def withdraw(
    ensembles: Sequence[str], models: ServedModels, canary: Canary, deadline: float, broken: Callable[[], bool]
) -> None:
    """Let a server refuse further requests to its ensembles, and wait until the accepted ones are answered.

    Args:
        ensembles: names of all ensembles.
        models: the folder that the server polls.
        canary: tells the models' states.
        deadline: time of the monotonic clock at which the wait ends.
        broken: returns whether the wait is in vain.

    Raises:
        ServerError: the server does not tell the models' states.
    """
    for name in ensembles:
        models.withdraw(name)
    _wait_until(lambda: canary.refuses(ensembles), deadline, broken)
    for name in ensembles:
        models.keep_name(name)
    _wait_until(lambda: canary.has_ended(ensembles), deadline, broken)


def _wait_until(condition: Callable[[], bool], deadline: float, broken: Callable[[], bool]) -> None:
    while time.monotonic() < deadline and not broken() and not condition():
        time.sleep(0.02)
