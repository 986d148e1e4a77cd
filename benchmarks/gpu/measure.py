"""The GPU measurement: groups of subjects that alternate, until the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.chain import Chain
from benchmarks.failures import SubjectError
from benchmarks.gpu.kernels import Kernels, Layer
from benchmarks.gpu.rows import GpuRow, KernelRow
from benchmarks.gpu.subjects import Measured, Subject, Turn
from benchmarks.networks import Models
from benchmarks.rounds import alternating, percentiles
from benchmarks.worker import Worker
from export.parity import Parity

Say = Callable[[str], None]

TURN_TIMEOUT = 60.0
LEFT_OUT = "left out: the time was up"


@dataclass(frozen=True)
class Plan:
    """What to measure on, and how long."""

    models: Models
    device: str
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    """For each turn."""
    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until nothing new is begun."""
        return self.started + 60 * self.minutes - time.monotonic()

    @property
    def log(self) -> Path:
        return self.models.folder / "workers.log"


@dataclass
class Tally:
    """What is known of one subject at one batch size."""

    subject: Subject
    batch: int
    reason: str = ""
    unavailable: bool = False
    parity: Parity | None = None
    turns: list[Turn] = field(default_factory=list)


@dataclass
class Run:
    """One run: the facts that all of its rows share."""

    plan: Plan
    device: str
    versions: str
    say: Say
    started: str = field(default_factory=machine.now)
    commit: str = field(default_factory=machine.commit)

    def group(self, name: str, subjects: Sequence[Subject], reasons: Mapping[Subject, str]) -> list[GpuRow]:
        """Load the subjects, but those that cannot be had for a reason, and let them take turns."""
        missing = {subject: reason for subject, reason in reasons.items() if reason}
        tallies = [Tally(s, batch, missing.get(s, ""), s in missing) for batch in self.plan.batches for s in subjects]
        loads: dict[Subject, float] = {}
        with ExitStack() as stack:
            workers = {s: stack.enter_context(self._worker(s)) for s in subjects if s not in missing}
            for subject, worker in workers.items():
                self._load(subject, worker, [t for t in tallies if t.subject == subject], loads)
            for number, tally in alternating(tallies, self.plan.rounds):
                if not tally.reason:
                    self._turn(tally, workers[tally.subject], number)
        return [self._row(name, tally, loads.get(tally.subject)) for tally in tallies]

    def _worker(self, subject: Subject) -> Worker:
        plan = self.plan
        return Worker(partial(Measured, subject, plan.models, plan.device, plan.batches), plan.log)

    def _load(self, subject: Subject, worker: Worker, tallies: list[Tally], loads: dict[Subject, float]) -> None:
        self.say(f"loading {subject}")
        try:
            if self.plan.left <= 0:
                raise SubjectError(LEFT_OUT)
            loads[subject] = worker.ask("load", timeout=self.plan.left)
        except SubjectError as error:
            for tally in tallies:
                tally.reason = str(error)
        for tally in tallies:
            if not tally.reason:
                try:  # the first call may compile for minutes
                    tally.parity = worker.ask("check", tally.batch, timeout=max(self.plan.left, TURN_TIMEOUT))
                except SubjectError as error:
                    tally.reason = str(error)

    def _turn(self, tally: Tally, worker: Worker, number: int) -> None:
        if self.plan.left <= 0:
            tally.reason = LEFT_OUT
            return
        self.say(f"round {number + 1}: {tally.subject}, batch {tally.batch}")
        try:
            tally.turns.append(worker.ask("turn", tally.batch, self.plan.seconds, timeout=TURN_TIMEOUT))
        except SubjectError as error:
            tally.reason, tally.turns = str(error), []

    def _row(self, group: str, tally: Tally, load_s: float | None) -> GpuRow:
        scale, stage = self.plan.models.scale, tally.subject.stage
        status = "ok" if not tally.reason else "interrupted" if tally.turns else "failed"
        if tally.unavailable or (tally.reason == LEFT_OUT and not tally.turns):
            status = "unavailable"
        measured: dict[str, float | int | str] = {}
        if tally.turns:
            device = [ms for turn in tally.turns for ms in turn.device]
            host = [ms for turn in tally.turns for ms in turn.host]
            measured = {
                "n": len(device or host),
                **dict(zip(("host_p5_ms", "host_p50_ms", "host_p95_ms"), percentiles(host), strict=True)),
                "rounds_ms": " ".join(f"{np.median(turn.device or turn.host):.6g}" for turn in tally.turns),
            }
            if device:
                measured |= dict(zip(("p5_ms", "p50_ms", "p95_ms"), percentiles(device), strict=True))
                measured["peak_mib"] = max(turn.peak_bytes for turn in tally.turns) / 2**20
        if tally.parity:
            parity = tally.parity
            measured |= {"worst_error": parity.worst, "mean_error": parity.mean, "psnr_db": parity.psnr}
        return GpuRow(
            run=self.started,
            time=machine.now(),
            commit=self.commit,
            group=group,
            stage=stage,
            engine=tally.subject.engine,
            precision=tally.subject.precision,
            resolution=scale.geometry.resolution,
            batch=tally.batch,
            status=status,  # type: ignore[arg-type]
            reason=tally.reason,
            load_s=load_s,
            gmac=Chain(self.plan.models).costs(stage).macs / 1e9,
            device=self.device,
            versions=self.versions,
            **measured,  # type: ignore[arg-type]
        )

    def kernels(self, layers: Sequence[Layer], batches: Sequence[int], copied: int, side: int) -> list[KernelRow]:
        """Time the two ceilings, then every layer."""
        rows: list[KernelRow] = []
        worker = Worker(partial(Kernels, self.plan.device), self.plan.log)
        try:
            ceilings = {"copy": (4.0 * copied, 0.0, copied), "product": (6.0 * side**2, 2.0 * side**3, side)}
            best: list[float] = []
            for name, (moved, operations, size) in ceilings.items():
                self.say(f"ceiling: {name}")
                times = worker.ask(name, size, self.plan.seconds, timeout=TURN_TIMEOUT)
                best.append(max(moved, operations) / np.percentile(times, 5))
                rows.append(self._kernel_row(Layer(name, 0, 0, size), 1, moved, operations, times))
            for layer in layers:
                for batch in batches:
                    self.say(f"kernel: {layer}, batch {batch}")
                    moved, operations = layer.costs(batch)
                    floors = {"memory": moved / best[0], "arithmetic": operations / best[1]}
                    bound = max(floors, key=lambda name: floors[name])
                    try:
                        if self.plan.left <= 0:
                            raise SubjectError(LEFT_OUT)
                        times = worker.ask("layer", layer, batch, self.plan.seconds / 2, timeout=TURN_TIMEOUT)
                        fraction = floors[bound] / float(np.median(times))
                        rows.append(self._kernel_row(layer, batch, moved, operations, times, bound, fraction))
                    except SubjectError as error:
                        rows.append(self._kernel_row(layer, batch, moved, operations, [], reason=str(error)))
                        if str(error) != LEFT_OUT:  # a fault in a kernel leaves the process without a GPU
                            worker.close()
                            worker = Worker(partial(Kernels, self.plan.device), self.plan.log)
        except SubjectError as error:
            self.say(f"kernels: {error}")
        finally:
            worker.close()
        return rows

    def _kernel_row(
        self,
        layer: Layer,
        batch: int,
        moved: float,
        operations: float,
        times: Sequence[float],
        bound: str = "",
        fraction: float | None = None,
        reason: str = "",
    ) -> KernelRow:
        p5, p50, p95 = percentiles(times) if times else (None, None, None)
        return KernelRow(
            run=self.started,
            time=machine.now(),
            commit=self.commit,
            kernel=layer.kernel,
            channels_in=layer.channels_in,
            channels_out=layer.channels_out,
            size=layer.size,
            batch=batch,
            status="ok" if times else "unavailable" if reason == LEFT_OUT else "failed",
            reason=reason,
            n=len(times),
            p5_ms=p5,
            p50_ms=p50,
            p95_ms=p95,
            mbyte=moved / 1e6,
            gflop=operations / 1e9,
            bound=bound,
            fraction=fraction,
            device=self.device,
            versions=self.versions,
        )
