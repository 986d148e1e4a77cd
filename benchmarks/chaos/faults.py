"""The faults: each is done to a running ``serve`` under load, and described by a row's fields."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.chaos.load import Load, Outcome
from benchmarks.chaos.served import Serving, filled, serving, wait_until
from benchmarks.memory import smaps_bytes
from engines.contract.tensors import FACE_SIZE
from serving.faces.jpeg import jpeg_from_picture
from serving.triton.installation import SHARED_MEMORY

MIB = 2**20
Fields = dict[str, Any]

_BAD_TENSORS: tuple[tuple[str, str, np.ndarray[Any, Any]], ...] = (
    ("toonify", "face", np.zeros((1, 255, 256, 3), np.uint8)),
    ("toonify", "face", np.zeros((9, 256, 256, 3), np.uint8)),
    ("toonify", "face", np.zeros((1, 256, 256, 3), np.float32)),
    ("toonify", "nobody", np.zeros((1, 256, 256, 3), np.uint8)),
    ("nobody", "face", np.zeros((1, 256, 256, 3), np.uint8)),
    ("toonify_jpeg", "jpeg", np.array([[b"no JPEG"]], object)),
    ("toonify_jpeg", "jpeg", np.array([[b""]], object)),
    ("toonify", "face", np.zeros((0, 256, 256, 3), np.uint8)),
)


@dataclass(frozen=True)
class Plan:
    """How much a run does.

    Attributes:
        models: python models to kill; None kills each.
        kills: kills of each.
        stops: SIGTERMs under load.
        before_stop: requests that are answered before each of these.
        queue: requests in flight at one more SIGTERM.
        bad_requests: requests that must be refused.
        messages: sizes of messages that must be refused, in MiB.
        soak: seconds of load.
    """

    models: int | None = None
    kills: int = 3
    stops: int = 5
    before_stop: int = 200
    queue: int = 1000
    bad_requests: int = 100_000
    messages: Sequence[int] = (64, 256, 550)
    soak: float = 120.0


QUICK = Plan(models=1, kills=1, stops=1, before_stop=16, queue=50, bad_requests=16, messages=(1,), soak=1.0)


def faults(repository: Path, folder: Path, plan: Plan) -> Iterator[Callable[[], Fields]]:
    """Yield, always in the same order, what does each fault to servers of its own and returns the fields of its row."""
    place = (repository, folder)
    yield partial(_stops, *place, plan.stops, plan.before_stop)
    yield partial(_stop_with_queue, *place, plan.queue)
    with serving(*place) as served:
        models = served.models()
    for name in models[: plan.models]:
        yield partial(_kills, *place, f"SIGKILL of {name}", plan.kills, partial(Serving.model, name=name))
    yield partial(_kills, *place, "SIGKILL of the server", plan.kills, Serving.server)
    yield partial(_hang, *place, models[0])
    yield partial(_full_log, *place)
    yield partial(_full_scratch, *place)
    yield partial(_full_shared_memory, *place)
    yield partial(_bad_requests, *place, plan.bad_requests)
    yield partial(_soak, *place, plan.soak)
    yield partial(_messages, *place, plan.messages)


def _stops(repository: Path, folder: Path, tries: int, before: int) -> Fields:
    total: Counter[str] = Counter()
    for _ in range(tries):
        with serving(repository, folder) as served, Load(served.url) as load:
            wait_until(lambda: load.answered() >= before, seconds=300)
            served.process.terminate()
            served.process.wait(90)
        # What is sent after the first such refusal is not accepted, though the connection may end before the refusal.
        end = min((outcome.end for outcome in load.outcomes if outcome.withdrawn), default=math.inf)
        total.update(_counts([outcome for outcome in load.outcomes if outcome.start < end]))
        total.update(refused=sum(outcome.start >= end for outcome in load.outcomes))
    return {"fault": "SIGTERM", "tries": tries, **total}


def _stop_with_queue(repository: Path, folder: Path, number: int) -> Fields:
    """Stop a server that has accepted many requests at once: each of them has passed the first step."""
    jpeg = np.array([[jpeg_from_picture(np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8))]], object)
    outcomes: list[Outcome] = []

    def done(result: object, error: InferenceServerException | None) -> None:
        outcomes.append(Outcome(start, time.monotonic(), str(error or "")))

    with serving(repository, folder) as served, InferenceServerClient(served.url) as client:
        before, start = _decoded(client), time.monotonic()
        for _ in range(number):
            client.async_infer("toonify_jpeg", [_tensor("jpeg", jpeg)], done)
        wait_until(lambda: _decoded(client) == before + number)
        waiting = number - len(outcomes)
        served.process.terminate()
        wait_until(lambda: len(outcomes) == number, "all answers", 120)
    fault = f"SIGTERM with {number} requests accepted, {waiting} not answered yet"
    return {"fault": fault, "tries": 1} | _counts(outcomes)


def _decoded(client: InferenceServerClient) -> int:
    statistics: Any = client.get_inference_statistics("decode_face")
    return int(statistics.model_stats[0].inference_stats.success.count)


def _kills(repository: Path, folder: Path, fault: str, tries: int, victim: Callable[[Serving], int]) -> Fields:
    noticed, again = [], []
    outcomes: list[Outcome] = []
    for _ in range(tries):
        with serving(repository, folder, interval=1000) as served:
            seconds, counted = _restart(served, victim(served), signal.SIGKILL)
            noticed.append(seconds[0])
            again.append(seconds[1])
            outcomes += counted
    return {"fault": fault, "tries": tries, "noticed_s": max(noticed), "served_s": max(again)} | _counts(outcomes)


def _hang(repository: Path, folder: Path, name: str) -> Fields:
    with serving(repository, folder, interval=1, patience=5) as served:
        seconds, outcomes = _restart(served, served.model(name), signal.SIGSTOP)
    fault = f"SIGSTOP of {name}, canary after 1 s with a patience of 5 s"
    return {"fault": fault, "tries": 1, "noticed_s": seconds[0], "served_s": seconds[1]} | _counts(outcomes)


def _restart(served: Serving, process: int, number: signal.Signals) -> tuple[tuple[float, float], list[Outcome]]:
    """Signal a process under load; return the seconds until it was noticed and served again, and the requests."""
    with Load(served.url) as load:
        wait_until(lambda: load.answered() >= 16)
        start = time.monotonic()
        os.kill(process, number)
        wait_until(lambda: served.phrases("serving") == 2, "a restart", 300)
        again = served.times("serving")[1]
        wait_until(lambda: load.answered(after=again), "an answer", 120)
    return (served.times("restarting")[0] - start, again - start), load.outcomes


def _full_log(repository: Path, folder: Path) -> Fields:
    """Fill the log's file system under load, and kill the server there."""
    place = folder / "logs"
    place.mkdir(exist_ok=True)
    with (
        serving(repository, folder, interval=1000, log=place / "log", small=(place, 1)) as served,
        filled(served.inside(place)),
    ):
        seconds, outcomes = _restart(served, served.server(), signal.SIGKILL)
    fault = "no room for the log, and SIGKILL of the server"
    return {"fault": fault, "tries": 1, "noticed_s": seconds[0], "served_s": seconds[1]} | _counts(outcomes)


def _full_scratch(repository: Path, folder: Path) -> Fields:
    """Kill the server while the folder for temporary files is full; there is room again after two vain starts."""
    with serving(repository, folder, interval=1000, small=(folder, 8)) as served, Load(served.url) as load:
        wait_until(lambda: load.answered() >= 16)
        (stub,) = served.inside(folder).rglob("triton_python_backend_stub")
        with filled(served.inside(folder)), stub.open("rb"):  # what is open takes up room after its removal
            os.kill(served.server(), signal.SIGKILL)
            wait_until(lambda: served.phrases("restarting") == 3, "two vain starts")
        start = time.monotonic()
        wait_until(lambda: served.phrases("serving") == 2, "a restart")
        again = served.times("serving")[1]
        wait_until(lambda: load.answered(after=again), "an answer", 120)
    fault = "no room for temporary files, and SIGKILL of the server: served after there is room"
    return {"fault": fault, "tries": 1, "served_s": again - start} | _counts(load.outcomes)


def _full_shared_memory(repository: Path, folder: Path, tries: int = 8) -> Fields:
    """Send what needs more shared memory while there is none, under load that has what it needs."""
    jpeg = np.array([[bytes(16 * MIB)]], object)
    with serving(repository, folder, small=(SHARED_MEMORY, 64)) as served, Load(served.url) as load:
        wait_until(lambda: load.answered() >= 64)
        with filled(served.inside(SHARED_MEMORY)), InferenceServerClient(served.url) as client:
            errors = [_error(client, "toonify_jpeg", "jpeg", jpeg) for _ in range(tries)]
        after = time.monotonic()
        wait_until(lambda: load.answered(after) >= 16)
    counts = _counts(load.outcomes)
    counts["refused"] += sum("Failed to increase the shared memory" in error for error in errors)
    return {"fault": "no room in /dev/shm, and JPEGs of 16 MiB", "tries": tries} | counts


def _bad_requests(repository: Path, folder: Path, number: int) -> Fields:
    with serving(repository, folder) as served, InferenceServerClient(served.url) as client:
        refused, before = 0, _mib(served)
        for place in range(number):
            model, name, value = _BAD_TENSORS[place % len(_BAD_TENSORS)]
            refused += _error(client, model, name, value).startswith(("[StatusCode.INVALID", "[StatusCode.NOT_FOUND"))
        answered = not _error(client, "toonify", "face", np.zeros((1, 256, 256, 3), np.uint8))
        after = _mib(served)
    counts = {"answered": int(answered), "refused": refused, "lost": number - refused}
    return {"fault": "bad requests", "tries": number, "mib_before": before, "mib_after": after} | counts


def _messages(repository: Path, folder: Path, sizes: Sequence[int]) -> Fields:
    with serving(repository, folder) as served, InferenceServerClient(served.url) as client:
        before = _mib(served)
        errors = [_error(client, "toonify_jpeg", "jpeg", np.array([[bytes(size * MIB)]], object)) for size in sizes]
        answered = not _error(client, "toonify", "face", np.zeros((1, 256, 256, 3), np.uint8))
        after = _mib(served)
    fault = f"JPEGs of {', '.join(map(str, sizes))} MiB"
    counts = {"answered": int(answered), "refused": sum(map(bool, errors))}
    return {"fault": fault, "tries": len(sizes), "mib_before": before, "mib_after": after} | counts


def _soak(repository: Path, folder: Path, seconds: float) -> Fields:
    with serving(repository, folder) as served, Load(served.url) as load:
        wait_until(lambda: load.answered() >= 16)
        before = _mib(served)
        time.sleep(seconds)
        after = _mib(served)
    fault = f"load of 8 clients for {seconds:g} s"
    return {"fault": fault, "tries": 1, "mib_before": before, "mib_after": after} | _counts(load.outcomes)


def _error(client: InferenceServerClient, model: str, name: str, value: np.ndarray[Any, Any]) -> str:
    try:
        client.infer(model, [_tensor(name, value)], client_timeout=120)
    except InferenceServerException as error:
        return str(error)
    return ""


def _tensor(name: str, value: np.ndarray[Any, Any]) -> InferInput:
    tensor = InferInput(name, [*value.shape], np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor


def _mib(served: Serving) -> float:
    # Not "Pss", which counts the shared memory too, but only the pages that a process has touched.
    regions = sum(path.stat().st_blocks * 512 for path in served.regions())
    return (sum(smaps_bytes(served.processes(), field) for field in ("Pss_Anon", "Pss_File")) + regions) / MIB


def _counts(outcomes: Sequence[Outcome]) -> Fields:
    return {
        "answered": sum(not outcome.error for outcome in outcomes),
        "refused": sum(outcome.refused for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
    }
