"""Starts of the server with one blend and with several, without and with a model cache: time, and memory afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, rmtree
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.chain import Array, Chain
from benchmarks.failures import one_line
from benchmarks.growth.start_rows import Cache, Start
from benchmarks.memory import peak_bytes, processes_of_session, rollup_bytes
from benchmarks.networks import Models
from benchmarks.rounds import alternating, percentiles
from engines.contract.atomic import atomic_directory
from engines.contract.errors import ToonifyError
from engines.model_directory import read_manifest, write_manifest
from serving.client import ToonifyClient
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

MIB = 2**20


@dataclass(frozen=True)
class Way:
    """One row to be: how the server is started."""

    blends: int
    cache: Cache = "off"


@dataclass(frozen=True)
class Found:
    """What one start has shown: seconds, and bytes of all processes of the server."""

    first: float
    ready: float
    pictures: tuple[float, ...]
    pss: int
    rss: int
    peak: int
    processes: int
    cache: int


@dataclass
class Tally:
    """What is known of one way so far."""

    way: Way
    reason: str = ""
    found: list[Found] = field(default_factory=list)


def ways(most_blends: int) -> list[Way]:
    """Every number of blends without a cache, and one blend with one; "filled" uses what "empty" has left."""
    return [*(Way(count) for count in range(1, most_blends + 1)), Way(1, "empty"), Way(1, "filled")]


def measure_starts(
    models: Models,
    ways: Sequence[Way],
    rounds: int,
    calls: int,
    step: Callable[[str], None],
    keep: Callable[[list[Start]], None],
) -> None:
    """Start the server in every way in turn.

    Args:
        models: exported, with their chain.
        ways: "empty" before "filled".
        rounds: how often each way has its turn.
        calls: pictures asked of each blend after a start.
        step: is called with a phrase before every start.
        keep: is called once with the rows, also where an interruption has ended the measurement.
    """
    run = machine.now()
    tallies = [Tally(way) for way in ways]
    try:
        for number, tally in alternating(tallies, rounds):
            step(f"round {number + 1}: start with {tally.way.blends} blends, cache {tally.way.cache}")
            _attempt(tally, models, calls)
    finally:
        keep([_row(tally, models, run, rounds) for tally in tallies if tally.found or tally.reason])


def _attempt(tally: Tally, models: Models, calls: int) -> None:
    if not tally.reason:
        try:
            tally.found.append(_start(models, tally.way, calls))
        except (ToonifyError, OSError) as error:
            tally.reason = one_line(error)


def _start(models: Models, way: Way, calls: int) -> Found:
    repository, cache = _repository(models, way.blends), models.folder / "cache"
    if way.cache == "empty":
        rmtree(cache, ignore_errors=True)
    face = Chain(models).sample("ensemble", 1).inputs["face"]
    first, asking = 0.0, 0.0

    def progress(phrase: str) -> None:
        # Now the server listens, and nothing has been asked of it yet.
        nonlocal first, asking
        if phrase.startswith("asking"):
            with ToonifyClient(server.url, timeout=600) as client:
                asking = _seconds_of_a_picture(client, face, 0)
            first = time.perf_counter() - begun

    server = TritonServer(
        repository,
        log=models.folder / "tritonserver.log",
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        runtime="cpu",
        cache=None if way.cache == "off" else cache,
        progress=progress,
    )
    begun = time.perf_counter()
    with server, ToonifyClient(server.url, timeout=600) as client:
        ready = time.perf_counter() - begun - asking
        order = [blend for _ in range(calls) for blend in range(way.blends)]
        pictures = tuple(_seconds_of_a_picture(client, face, blend) for blend in order)
        processes = processes_of_session(server.pid)
        memory = (rollup_bytes(processes, "Pss"), rollup_bytes(processes, "Rss"), peak_bytes(processes))
    stored = 0 if way.cache == "off" else sum(path.stat().st_size for path in cache.rglob("*"))
    return Found(first, ready, pictures, *memory, processes=len(processes), cache=stored)


def _seconds_of_a_picture(client: ToonifyClient, face: Array, blend: int) -> float:
    start = time.perf_counter()
    client.toonify(face, model=f"toonify_{_name(blend)}")
    return time.perf_counter() - start


def _name(blend: int) -> str:
    return f"blend{blend + 1}"


def _repository(models: Models, blends: int) -> Path:
    """A repository of so many generators: copies under other names, so that no file is shared."""
    generators = [models.folder / _name(blend) for blend in range(blends)]
    for directory in generators:
        if not directory.exists():
            with atomic_directory(directory) as staging:
                copytree(models.directory("generator"), staging, dirs_exist_ok=True)
                write_manifest(staging, read_manifest(staging).model_copy(update={"name": directory.name}))
    output = models.folder / f"repository_of_{blends}"
    encoder, isf = models.directory("encoder"), models.directory("isf")
    write_repository(output, encoder=encoder, isf=isf, generators=generators, force=True)
    return output


def _row(tally: Tally, models: Models, run: str, rounds: int) -> Start:
    engine, precision = models.served("generator")
    facts: dict[str, Any] = {
        "run": run,
        "time": machine.now(),
        "commit": machine.commit(),
        "blends": tally.way.blends,
        "cache": tally.way.cache,
        "resolution": models.scale.geometry.resolution,
        "engine": engine,
        "precision": precision,
        "device": machine.device(),
        "versions": machine.versions(),
    }
    if tally.reason:
        return Start(**facts, status="failed", reason=tally.reason)
    found = tally.found
    p5, p50, p95 = percentiles([1e3 * seconds for one in found for seconds in one.pictures])
    return Start(
        **facts,
        status="ok" if len(found) == rounds else "interrupted",
        n=len(found),
        first_s=median(one.first for one in found),
        firsts_s=" ".join(f"{one.first:.4g}" for one in found),
        ready_s=median(one.ready for one in found),
        p5_ms=p5,
        p50_ms=p50,
        p95_ms=p95,
        pss_mib=max(one.pss for one in found) / MIB,
        rss_mib=max(one.rss for one in found) / MIB,
        peak_mib=max(one.peak for one in found) / MIB,
        processes=found[0].processes,
        cache_mib=max(one.cache for one in found) / MIB,
    )
