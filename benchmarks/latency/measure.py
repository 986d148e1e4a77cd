"""The measurement: in every round each condition of a group has its turn, there and back, so that none is favoured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from benchmarks import machine
from benchmarks.chain import Chain
from benchmarks.failures import SubjectError
from benchmarks.latency.conditions import Condition, Group
from benchmarks.latency.remote_engine import RemoteEngine, Turn
from benchmarks.latency.roof import ROOFS
from benchmarks.latency.rows import Row
from benchmarks.latency.subjects import open_subject, prepare
from benchmarks.networks import Models, signature_of
from benchmarks.records import Status
from benchmarks.rounds import alternating, percentiles
from engines.model_directory import Verification
from engines.openvino.engine import supports_bf16
from export.verification import Bound, verify

SETTLE = 0.05
"""Seconds between turns, in which the libraries' idle threads stop spinning."""

Step = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long to measure, on what."""

    models: Models
    rounds: int
    seconds: float
    """Of timed calls for each condition, in all rounds together; one call in each round at least."""
    threads: int = field(default_factory=machine.cores)
    """Of every library. The server takes every core in any case."""


@dataclass
class Tally:
    """What is known of one condition so far; its status is None until it is clear that it cannot be measured."""

    condition: Condition
    status: Status | None = None
    reason: str = ""
    worker: RemoteEngine | None = None
    load_s: float | None = None
    error: Verification | None = None
    calls: int = 0
    turns: list[Turn] = field(default_factory=list)

    def attempt(self, work: Callable[[Tally], None]) -> None:
        """Do a part of the measurement, unless an earlier part failed."""
        if self.status is None:
            try:
                work(self)
            except SubjectError as error:
                self.status, self.reason = "failed", str(error)


class Run:
    """One run of the benchmark: the facts that all of its rows share."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chains: dict[int, Chain] = {}
        self._started = machine.now()
        self._commit, self._device, self._versions = machine.commit(), machine.device(), machine.versions()

    def measure(self, group: Group, step: Step, keep: Callable[[list[Row]], None]) -> None:
        """Measure a group.

        Args:
            group: what to measure.
            step: is called with a phrase before every load and every turn.
            keep: is called once with the rows, also where an interruption has ended the measurement: then they hold
                the rounds that were finished.
        """
        tallies = [Tally(condition) for condition in group.conditions]
        with ExitStack() as stack:
            try:
                self._load(tallies, stack, step)
                for number, tally in alternating(tallies, self._plan.rounds):
                    step(f"round {number + 1}: {tally.condition}")
                    tally.attempt(self._turn)
            finally:
                rows = [self._row(group, tally) for tally in tallies]
                keep([row for row in rows if row.n or row.status != "interrupted"])

    def _load(self, tallies: Sequence[Tally], stack: ExitStack, step: Step) -> None:
        workers: dict[Condition, RemoteEngine] = {}
        for tally in tallies:
            step(f"loading: {tally.condition}")
            if tally.condition.precision == "bf16" and not supports_bf16():
                tally.status, tally.reason = "unavailable", "this processor does not multiply bfloat16"
            tally.attempt(partial(self._open, workers=workers, stack=stack))

    def _open(self, tally: Tally, workers: dict[Condition, RemoteEngine], stack: ExitStack) -> None:
        condition, chain = tally.condition, self._chain(tally.condition)
        models = chain.models
        if condition.subject not in workers:
            prepare(condition, models)
            signature = signature_of(condition.stage, models.scale.geometry)
            opened = partial(open_subject, condition, models, self._plan.threads)
            workers[condition.subject] = RemoteEngine(signature, opened, models.folder / "workers.log")
            tally.load_s = stack.enter_context(workers[condition.subject]).load()
        worker = tally.worker = workers[condition.subject]
        sample = chain.sample(condition.stage, condition.batch)
        # The first call may compile; its output is checked. The second one tells how many fit into a turn.
        if condition.stage == "roof":
            worker.run(sample.inputs)
        else:
            tally.error = verify(worker, [sample], "the chain", Bound(psnr=0))
        seconds = worker.turn(sample.inputs, 1, 1).wall
        share = condition.weight * self._plan.seconds / self._plan.rounds
        tally.calls = max(condition.in_flight, round(share / seconds))

    def _turn(self, tally: Tally) -> None:
        assert tally.worker is not None
        condition = tally.condition
        time.sleep(SETTLE)
        inputs = self._chain(condition).sample(condition.stage, condition.batch).inputs
        tally.turns.append(tally.worker.turn(inputs, tally.calls, condition.in_flight))

    def _chain(self, condition: Condition) -> Chain:
        size = condition.resolution
        if size not in self._chains:
            self._chains[size] = Chain(self._plan.models.at(size))
        return self._chains[size]

    def _row(self, group: Group, tally: Tally) -> Row:
        condition, chain = tally.condition, self._chain(tally.condition)
        scale = chain.models.scale
        is_roof = condition.stage == "roof"
        costs = ROOFS[condition.engine].costs(scale) if is_roof else chain.costs(condition.stage)
        whole = len(tally.turns) == self._plan.rounds
        row = Row(
            run=self._started,
            time=machine.now(),
            commit=self._commit,
            group=group.name,
            stage=condition.stage,
            engine=condition.engine,
            precision=condition.precision,
            served=condition.served,
            resolution=0 if is_roof else scale.geometry.resolution,
            batch=condition.batch,
            in_flight=condition.in_flight,
            status=tally.status or ("ok" if whole else "interrupted"),
            reason=tally.reason,
            load_s=tally.load_s,
            gmac=costs.macs / 1e9,
            gbyte=None if costs.bytes is None else costs.bytes / 1e9,
            device=self._device,
            threads=self._plan.threads,
            versions=self._versions,
        )
        return with_measurements(row, tally)


def with_measurements(row: Row, tally: Tally) -> Row:
    """The row with the times, the memory and the errors of its tally, as far as there are any."""
    if tally.error:
        psnr = math.inf if tally.error.psnr is None else tally.error.psnr
        row = replace(row, worst_error=tally.error.worst, psnr_db=psnr)
    if not tally.turns or tally.status == "failed":
        return row
    milliseconds = [1e3 * np.asarray(turn.seconds) for turn in tally.turns]
    everything = np.concatenate(milliseconds)
    p5, p50, p95 = percentiles(everything)
    return replace(
        row,
        n=len(everything),
        p5_ms=p5,
        p50_ms=p50,
        p95_ms=p95,
        rounds_ms=" ".join(f"{np.median(one):.6g}" for one in milliseconds),
        over_engines="" if row.in_flight > 1 else _over_engines(tally.turns),
        pictures_per_s=len(everything) * row.batch / sum(turn.wall for turn in tally.turns),
        peak_mib=max(turn.peak_bytes for turn in tally.turns) / 2**20,
    )


def _over_engines(turns: Sequence[Turn]) -> str:
    return " ".join(f"{sum(turn.seconds) / turn.engine_seconds:.4g}" for turn in turns if turn.engine_seconds)
