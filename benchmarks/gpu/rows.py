"""The schemas of ``results/gpu_latency.csv`` and ``results/gpu_kernels.csv``."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.records import RESULTS_FOLDER, Status
from benchmarks.rounds import medians_from_text

LATENCIES = RESULTS_FOLDER / "gpu_latency.csv"
KERNELS = RESULTS_FOLDER / "gpu_kernels.csv"


@dataclass(frozen=True)
class GpuRow:
    """One case of one run; fields that are not listed here mean the same as in ``benchmarks.latency.rows.LatencyRow``.

    Attributes:
        precision: "tf32" is float32 with convolutions in TF32, which is PyTorch's default; "fp32" is without TF32.
        n: number of timed calls from GPU memory to GPU memory, whose times by CUDA events are p5_ms, p50_ms and p95_ms.
            A server has no such calls: its ``n`` and ``rounds_ms`` are those of the host's clock.
        rounds_ms: the median of each round, separated by spaces.
        host_p5_ms, host_p50_ms, host_p95_ms: times of calls from host memory to host memory, by the host's clock.
        load_s: seconds to build the network on the GPU, with compilation, choice of algorithms and graph capture.
        peak_mib: the peak of GPU memory that PyTorch had allocated, weights included.
        worst_error, mean_error, psnr_db: against PyTorch in float32 on the CPU.
        gmac: 10^9 multiply-accumulates for one picture.
    """

    run: str
    time: str
    commit: str
    group: str
    stage: str
    engine: str
    precision: str
    resolution: int
    batch: int
    status: Status
    reason: str = ""
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
    device: str = ""
    versions: str = ""

    @property
    def rounds(self) -> list[float]:
        """The median of each round in ms."""
        return medians_from_text(self.rounds_ms)


@dataclass(frozen=True)
class KernelRow:
    """One kernel on one layer, or one of the two microbenchmarks of the GPU's limits ("copy", "product").

    Attributes:
        mbyte, gflop: the least that a call moves and computes, in 10^6 bytes and 10^9 operations.
        fraction: least time by the slower of the two limits, over the median time.
        bound: the slower limit, "memory" or "arithmetic".
    """

    run: str
    time: str
    commit: str
    kernel: str
    channels_in: int
    channels_out: int
    size: int
    batch: int
    status: Status
    reason: str = ""
    n: int = 0
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    mbyte: float | None = None
    gflop: float | None = None
    bound: str = ""
    fraction: float | None = None
    device: str = ""
    versions: str = ""
