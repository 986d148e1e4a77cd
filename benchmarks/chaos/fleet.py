"""Faults in a fleet: servers behind an edge, and clients that repeat what fails, while a part breaks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.load import Ask, Load, Outcome
from benchmarks.chaos.served import Serving, edge_before, filled, serving, wait_until
from engines.contract.errors import ToonifyError
from serving.client import ToonifyClient

Fields = dict[str, Any]

_SMALL_DISK = 8
"""MiB of the first server's file system, which a fault fills."""


@dataclass(frozen=True)
class FleetPlan:
    """How much a run does.

    Attributes:
        replicas: sizes of the fleets.
        calls: calls for each fault, half of them before it is done.
        tries: how often it is done meanwhile.
        clients: threads with a client each, which send without pause.
        deadline: seconds within which a call must be answered, however often the client repeats it.
        faults: how many kinds of faults; None means all.
    """

    replicas: Sequence[int] = (2, 3)
    calls: int = 10_000
    tries: int = 4
    clients: int = 8
    deadline: float = 10.0
    faults: int | None = None


QUICK = FleetPlan(replicas=(2,), calls=60, tries=1, faults=1)


class Fleet:
    """Servers and the edge before them."""

    def __init__(self, repository: Path, edge: Serving, replicas: list[Serving], stack: ExitStack) -> None:
        self.edge, self.replicas = edge, replicas
        self._repository, self._stack = repository, stack

    def stop_and_start(self, number: int) -> None:
        """Tell a server to stop, as before an update, and start another one in its place."""
        place = number % len(self.replicas)
        served = self.replicas[place]
        served.process.terminate()
        served.process.wait(90)
        port = int(served.url.rpartition(":")[2])
        self.replicas[place] = self._stack.enter_context(_replica(self._repository, served.folder, port=port))

    def kill(self, number: int) -> None:
        """Kill a server's own process."""
        served = self._served(number)
        _until_it_serves_again(served, lambda: os.kill(served.server(), signal.SIGKILL))

    def kill_model(self, number: int) -> None:
        """Kill the process of a python model."""
        served = self._served(number)
        models = served.models()
        _until_it_serves_again(served, lambda: os.kill(served.model(models[number % len(models)]), signal.SIGKILL))

    def fill_disk(self, number: int) -> None:
        """Leave the first server no room for log and temporary files, kill it, and make room after a vain start."""
        served = self.replicas[0]
        serves, fails = served.phrases("serving"), served.phrases("restarting")
        (stub,) = served.inside(served.folder).rglob("triton_python_backend_stub")
        with filled(served.inside(served.folder)), stub.open("rb"):  # what is open takes up room after its removal
            os.kill(served.server(), signal.SIGKILL)
            wait_until(lambda: served.phrases("restarting") > fails + 1, "a vain start")
        wait_until(lambda: served.phrases("serving") > serves, "a restart", 300)

    def reload_edge(self, number: int) -> None:
        """Tell the edge to read its files again."""
        _until_it_serves_again(self.edge, lambda: self.edge.process.send_signal(signal.SIGHUP))

    def kill_edge(self, number: int) -> None:
        """Kill Envoy."""
        (envoy,) = self.edge.processes("--config-path")
        _until_it_serves_again(self.edge, lambda: os.kill(envoy, signal.SIGKILL))

    def _served(self, number: int) -> Serving:
        return self.replicas[number % len(self.replicas)]


@dataclass(frozen=True)
class Fault:
    """What is done to a fleet, in turn to each server where it is one.

    ``done``: does it, given the number of the try, and returns when all is as before.
    ``once``: True for what is not done again, since ``serve`` would pause for longer each time.
    """

    name: str
    done: Callable[[Fleet, int], None]
    once: bool = False


FAULTS = (
    Fault("a model's process killed (SIGKILL)", Fleet.kill_model),
    Fault("a server killed (SIGKILL)", Fleet.kill),
    Fault("a server stopped (SIGTERM) and replaced", Fleet.stop_and_start),
    Fault("a server's disk full, and its process killed", Fleet.fill_disk, once=True),
    Fault("the edge reloaded (SIGHUP)", Fleet.reload_edge),
    Fault("Envoy killed (SIGKILL)", Fleet.kill_edge),
)


def fleet_faults(repository: Path, folder: Path, plan: FleetPlan) -> Iterator[Callable[[], Fields]]:
    """Yield, always in the same order, what does each fault to a fleet of its own and returns the fields of its row."""
    for replicas in plan.replicas:
        for place, fault in enumerate(FAULTS[: plan.faults]):
            yield partial(_measured, repository, folder / f"{replicas}-{place}", fault, replicas, plan)


def _measured(repository: Path, folder: Path, fault: Fault, replicas: int, plan: FleetPlan) -> Fields:
    before: list[Outcome] = []
    during: list[Outcome] = []
    recoveries: list[float] = []
    tries = 1 if fault.once else plan.tries
    share = plan.calls // (2 * tries)
    with (
        _fleet(repository, folder, replicas) as fleet,
        Load(fleet.edge.url, plan.clients, partial(_repeating_client, seconds=plan.deadline)) as load,
    ):
        wait_until(lambda: load.answered() >= plan.clients, "the first answers")
        for number in range(tries):
            before += _calls_since(time.monotonic(), load, share)
            start = time.monotonic()
            fault.done(fleet, number)
            end = time.monotonic()
            during += [outcome for outcome in _calls_since(start, load, share) if outcome.start <= end]
            recoveries.append(end - start)
    return {
        "fault": fault.name,
        "replicas": replicas,
        "tries": tries,
        "calls": len(load.outcomes),
        "failed": sum(bool(outcome.error) for outcome in load.outcomes),
        "example": next((outcome.error for outcome in load.outcomes if outcome.error), ""),
        "recovered_s": max(recoveries),
        "p95_before_ms": _p95(before),
        "p95_during_ms": _p95(during),
        "longest_ms": max(_milliseconds(load.outcomes)),
    }


def _calls_since(since: float, load: Load, number: int) -> list[Outcome]:
    """Wait for so many calls that end after a time, and return all of them."""
    wait_until(lambda: sum(outcome.end > since for outcome in load.outcomes) >= number, f"{number} calls", 900)
    return [outcome for outcome in load.outcomes if outcome.end > since]


def _milliseconds(outcomes: Sequence[Outcome]) -> list[float]:
    return [1000 * (outcome.end - outcome.start) for outcome in outcomes]


def _p95(outcomes: Sequence[Outcome]) -> float:
    return float(np.percentile(_milliseconds(outcomes), 95))


@contextmanager
def _fleet(repository: Path, folder: Path, replicas: int) -> Iterator[Fleet]:
    """Start servers, the first one with a disk of its own that is small, and an edge."""
    with ExitStack() as stack:
        servers = []
        for number in range(replicas):
            (place := folder / str(number)).mkdir(parents=True)
            small = (place, _SMALL_DISK) if number == 0 else None
            servers.append(stack.enter_context(_replica(repository, place, small=small)))
        (folder / "edge").mkdir()
        edge = stack.enter_context(edge_before([served.url for served in servers], folder / "edge"))
        yield Fleet(repository, edge, servers, stack)


@contextmanager
def _replica(
    repository: Path, folder: Path, *, port: int = 0, small: tuple[Path, int] | None = None
) -> Iterator[Serving]:
    with serving(repository, folder, log=folder / "log", interval=1000, port=port, small=small) as served:
        yield served


def _until_it_serves_again(served: Serving, break_it: Callable[[], object]) -> None:
    before = served.phrases("serving")
    break_it()
    wait_until(lambda: served.phrases("serving") > before, "a restart", 300)


@contextmanager
def _repeating_client(url: str, seconds: float) -> Iterator[Ask]:
    """The package's client, which repeats within the deadline what another server, or a later moment, may answer."""
    face = np.zeros((256, 256, 3), np.uint8)

    def ask() -> str:
        try:
            client.toonify(face, timeout=seconds)
        except ToonifyError as failure:
            return str(failure)
        return ""

    with ToonifyClient(url) as client:
        yield ask
