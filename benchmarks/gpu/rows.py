"""The schemas of the CSV files of a GPU run; of rows with the same key, the last one counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import RESULTS_FOLDER, Status
from benchmarks.rounds import medians_from_text

LATENCIES = RESULTS_FOLDER / "gpu_latency.csv"
KERNELS = RESULTS_FOLDER / "gpu_kernels.csv"
CASES = RESULTS_FOLDER / "gpu_cases.csv"
PROFILES = RESULTS_FOLDER / "gpu_profile.csv"
STEPS = RESULTS_FOLDER / "gpu_steps.csv"

OURS, PORT = "torch-cuda", "port eager"
"""The names in rows of this package's engine and of the usual port of StyleGAN2 to PyTorch."""


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What every row holds.

    Attributes:
        run: the time when the run began; calls that resume it keep it.
        time: the time of the row.
        commit: the measured commit, or a digest of the code where there is no git.
        status: "interrupted" for a subject whose last rounds are missing.
        reason: why it is not "ok", in one line; tracebacks.txt has the whole traceback.
    """

    run: str
    time: str
    commit: str
    status: Status
    reason: str = ""
    device: str = ""
    versions: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured; a resumed run measures it only once."""
        raise NotImplementedError

    @property
    def is_final(self) -> bool:
        """Whether there is nothing left to measure."""
        return self.status != "interrupted"


@dataclass(frozen=True, kw_only=True)
class StepRow(RunRow):
    """A step of the course; one whose row is not "ok" is taken again by the next call.

    Attributes:
        seconds: how long it took.
        note: the facts of the machine, for the step "facts".
    """

    step: str
    seconds: float
    note: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.step,)

    @property
    def is_final(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, kw_only=True)
class GpuRow(RunRow):
    """One case of one run; fields that are not listed here mean the same as in ``benchmarks.latency.rows.LatencyRow``.

    Attributes:
        precision: "tf32" is float32 with convolutions in TF32, which is PyTorch's default; "fp32" is without TF32.
        n: number of timed blocks of calls from GPU memory to GPU memory. The calls of a block follow each other
            without a pause between two CUDA events; p5_ms, p50_ms and p95_ms are the blocks' times of one call.
            A server has no such calls: its ``n`` and ``rounds_ms`` are those of the host's clock.
        rounds_ms: the median of each round, separated by spaces.
        host_p5_ms, host_p50_ms, host_p95_ms: times of calls from host memory to host memory, by the host's clock.
        load_s: seconds to build the network on the GPU, with compilation, choice of algorithms and graph capture.
        peak_mib: the peak of GPU memory that PyTorch had allocated, weights included.
        worst_error, mean_error, psnr_db: against PyTorch in float32 on the CPU.
        gmac: 10^9 multiply-accumulates for one picture.
    """

    group: str
    stage: str
    engine: str
    precision: str
    resolution: int
    batch: int
    n: int = 0
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    rounds_ms: str = ""
    host_p5_ms: float | None = None
    host_p50_ms: float | None = None
    host_p95_ms: float | None = None
    load_s: float | None = None
    peak_mib: float | None = None
    worst_error: float | None = None
    mean_error: float | None = None
    psnr_db: float | None = None
    gmac: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return self.group, self.stage, self.engine, self.precision, self.batch

    @property
    def rounds(self) -> list[float]:
        """The median of each round in ms."""
        return medians_from_text(self.rounds_ms)


@dataclass(frozen=True, kw_only=True)
class ProfileRow(RunRow):
    """One kernel in the profile of a replay: how often it ran, and the microseconds of all its runs."""

    stage: str
    batch: int
    kernel: str
    calls: int = 0
    total_us: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        return self.stage, self.batch, self.kernel


@dataclass(frozen=True, kw_only=True)
class CaseRow(RunRow):
    """One case of the kernels' tests; "failed" with a reason where a kernel is wrong or ended with an error."""

    case: str

    @property
    def key(self) -> tuple[object, ...]:
        return (self.case,)


@dataclass(frozen=True, kw_only=True)
class KernelRow(RunRow):
    """One kernel on one layer, or one of the two microbenchmarks of the GPU's limits ("copy", "product").

    Attributes:
        variant: "" for the kernel as the engine launches it; see ``benchmarks.gpu.variants``.
        mbyte, gflop: the least that a call moves and computes, in 10^6 bytes and 10^9 operations.
        fraction: least time by the slower of the two limits, over the median time.
        bound: the slower limit, "memory" or "arithmetic".
    """

    kernel: str
    channels_in: int
    channels_out: int
    size: int
    batch: int
    variant: str = ""
    n: int = 0
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    mbyte: float | None = None
    gflop: float | None = None
    bound: str = ""
    fraction: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return self.kernel, self.channels_in, self.channels_out, self.size, self.batch, self.variant


FILES: dict[type[RunRow], Path] = {
    StepRow: STEPS,
    GpuRow: LATENCIES,
    ProfileRow: PROFILES,
    CaseRow: CASES,
    KernelRow: KERNELS,
}
"""The file of each kind of row, in the folder of committed results."""
