"""Measures starts of the server, with one blend and several, without and with a model cache: time, and memory after."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, rmtree
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.errors import one_line
from benchmarks.growth.start_rows import Cache, StartRow
from benchmarks.memory import peak_bytes, smaps_bytes
from benchmarks.networks import BenchmarkModels
from benchmarks.reference import Array, ReferenceData
from benchmarks.rounds import alternating, percentiles
from engines.contract.atomic import atomic_directory
from engines.contract.errors import ToonifyError
from engines.model_directory import read_manifest, write_manifest
from serving.client import ToonifyClient
from serving.triton.process_group import processes_of_session
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

MIB = 2**20


@dataclass(frozen=True)
class StartCase:
    """How the server is started, for one row: the number of blends, and the state of the model cache."""

    blends: int
    cache: Cache = "off"


@dataclass(frozen=True)
class StartResult:
    """Times of one start in seconds, and memory of all the server's processes in bytes, as in ``StartRow``."""

    first: float
    ready: float
    pictures: tuple[float, ...]
    pss: int
    rss: int
    peak: int
    processes: int
    cache: int


@dataclass
class StartState:
    """The results of one case so far; where a start has failed, ``reason`` says why."""

    case: StartCase
    reason: str = ""
    results: list[StartResult] = field(default_factory=list)


def start_cases(most_blends: int) -> list[StartCase]:
    """Every number of blends without a cache, then one blend with one; "filled" uses the cache that "empty" leaves."""
    return [*(StartCase(count) for count in range(1, most_blends + 1)), StartCase(1, "empty"), StartCase(1, "filled")]


def measure_starts(
    models: BenchmarkModels,
    start_cases: Sequence[StartCase],
    rounds: int,
    calls: int,
    step: Callable[[str], None],
    keep: Callable[[list[StartRow]], None],
) -> None:
    """Start the server in every case, alternating, and pass the rows to ``keep``.

    Args:
        models: exported, with their reference data.
        start_cases: with "empty" before "filled".
        rounds: number of starts in each case.
        calls: number of pictures requested of each blend after a start.
        step: called with a phrase before every start.
        keep: called once with the rows, after an interruption too.
    """
    run = machine.now()
    states = [StartState(case) for case in start_cases]
    try:
        for number, state in alternating(states, rounds):
            step(f"round {number + 1}: start with {state.case.blends} blends, cache {state.case.cache}")
            _attempt(state, models, calls)
    finally:
        keep([_row(state, models, run, rounds) for state in states if state.results or state.reason])


def _attempt(state: StartState, models: BenchmarkModels, calls: int) -> None:
    if not state.reason:
        try:
            state.results.append(_start(models, state.case, calls))
        except (ToonifyError, OSError) as error:
            state.reason = one_line(error)


def _start(models: BenchmarkModels, case: StartCase, calls: int) -> StartResult:
    repository, cache = _repository(models, case.blends), models.folder / "cache"
    if case.cache == "empty":
        rmtree(cache, ignore_errors=True)
    face = ReferenceData(models).sample("ensemble", 1).inputs["face"]
    first, seconds_of_first = 0.0, 0.0

    def progress(phrase: str) -> None:
        # At this phrase the server listens, and has received no request yet.
        nonlocal first, seconds_of_first
        if phrase.startswith("asking"):
            with ToonifyClient(server.url, timeout=600) as client:
                seconds_of_first = _seconds_of_a_picture(client, face, 0)
            first = time.perf_counter() - start_time

    server = TritonServer(
        repository,
        log=models.folder / "tritonserver.log",
        grpc_port=0,
        metrics_port=0,
        runtime="cpu",
        cache=None if case.cache == "off" else cache,
        progress=progress,
    )
    start_time = time.perf_counter()
    with server, ToonifyClient(server.url, timeout=600) as client:
        ready = time.perf_counter() - start_time - seconds_of_first
        order = [blend for _ in range(calls) for blend in range(case.blends)]
        pictures = tuple(_seconds_of_a_picture(client, face, blend) for blend in order)
        processes = processes_of_session(server.pid)
        memory = (smaps_bytes(processes, "Pss"), smaps_bytes(processes, "Rss"), peak_bytes(processes))
    cache_bytes = 0 if case.cache == "off" else sum(path.stat().st_size for path in cache.rglob("*"))
    return StartResult(first, ready, pictures, *memory, processes=len(processes), cache=cache_bytes)


def _seconds_of_a_picture(client: ToonifyClient, face: Array, blend: int) -> float:
    start = time.perf_counter()
    client.toonify(face, model=f"toonify_{_blend_name(blend)}")
    return time.perf_counter() - start


def _blend_name(blend: int) -> str:
    return f"blend{blend + 1}"


def _repository(models: BenchmarkModels, blends: int) -> Path:
    """A model repository with ``blends`` generators: copies under other names, so that they share no file."""
    generators = [models.folder / _blend_name(blend) for blend in range(blends)]
    for directory in generators:
        if not directory.exists():
            with atomic_directory(directory) as staging:
                copytree(models.directory("generator"), staging, dirs_exist_ok=True)
                write_manifest(staging, read_manifest(staging).model_copy(update={"name": directory.name}))
    output = models.folder / f"repository_of_{blends}"
    encoder, isf = models.directory("encoder"), models.directory("isf")
    write_repository(output, encoder=encoder, isf=isf, generators=generators, force=True)
    return output


def _row(state: StartState, models: BenchmarkModels, run: str, rounds: int) -> StartRow:
    engine, precision = models.served("generator")
    common: dict[str, Any] = {
        "run": run,
        "time": machine.now(),
        "commit": machine.commit(),
        "blends": state.case.blends,
        "cache": state.case.cache,
        "resolution": models.scale.geometry.resolution,
        "engine": engine,
        "precision": precision,
        "device": machine.device(),
        "versions": machine.versions(),
    }
    if state.reason:
        return StartRow(**common, status="failed", reason=state.reason)
    results = state.results
    p5, p50, p95 = percentiles([1e3 * seconds for start in results for seconds in start.pictures])
    return StartRow(
        **common,
        status="ok" if len(results) == rounds else "interrupted",
        n=len(results),
        first_s=median(start.first for start in results),
        firsts_s=" ".join(f"{start.first:.4g}" for start in results),
        ready_s=median(start.ready for start in results),
        p5_ms=p5,
        p50_ms=p50,
        p95_ms=p95,
        pss_mib=max(start.pss for start in results) / MIB,
        rss_mib=max(start.rss for start in results) / MIB,
        peak_mib=max(start.peak for start in results) / MIB,
        processes=results[0].processes,
        cache_mib=max(start.cache for start in results) / MIB,
    )
