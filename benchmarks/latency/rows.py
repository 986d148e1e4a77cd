"""The schema of ``results/latency.csv`` and ``growth.csv``: a row holds a case's times, or why it has none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.records import RESULTS_FOLDER, Status, append_records, read_records
from benchmarks.rounds import medians_from_text

RESULTS = RESULTS_FOLDER / "latency.csv"


@dataclass(frozen=True)
class LatencyRow:
    """One case of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started; identifies the run.
        time: UTC time at which the row was written.
        commit: of this repository; "+changes" where the code differed from it.
        group: only rows of one group, batch and run may be divided by each other, since their cases alternated.
        stage: generator, isf, encoder (one network), pipeline (all three in one process), ensemble (all three in
            Triton, called over gRPC), roof (a microbenchmark of the machine).
        served: whether the served ensemble runs this stage in this engine and precision.
        resolution: of the picture; 0 where the stage makes none.
        status: "interrupted" rows hold the finished rounds; "failed" and "unavailable" rows give their ``reason``.
        n: number of timed calls.
        rounds_ms: the median of each round, separated by spaces; the rounds of one group correspond to each other.
        over_engines: for a server with one request at a time, in each round: the time of its calls over the time that
            its engines computed in them, by Triton's statistics.
        pictures_per_s: pictures (for a roof: calls) over the wall time of all rounds.
        load_s: seconds to load the model, library import included; for the ensemble until it has answered once.
        peak_mib: largest resident memory while answering, of all processes of the case except the client's.
        worst_error, psnr_db: against PyTorch in float32; for pictures in levels of 0..255, for codes in their own unit
            and relative to their range; the PSNR is infinite where both are equal.
        gmac: 10^9 multiply-accumulates for one picture (for a roof: one call).
        gbyte: the least traffic for one picture in 10^9 bytes: every map is read once and written once, and every
            weight is read once, in float32.
    """

    run: str
    time: str
    commit: str
    group: str
    stage: str
    engine: str
    precision: str
    served: bool
    resolution: int
    batch: int
    in_flight: int
    status: Status
    reason: str = ""
    n: int = 0
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    rounds_ms: str = ""
    over_engines: str = ""
    pictures_per_s: float | None = None
    load_s: float | None = None
    peak_mib: float | None = None
    worst_error: float | None = None
    psnr_db: float | None = None
    gmac: float | None = None
    gbyte: float | None = None
    device: str = ""
    threads: int = 0
    versions: str = ""

    @property
    def rounds(self) -> list[float]:
        """The median of each round in ms."""
        return medians_from_text(self.rounds_ms)


COLUMNS = tuple(field.name for field in fields(LatencyRow))


def append_rows(path: Path, rows: Iterable[LatencyRow]) -> None:
    """Append rows to the CSV, which is created where it does not exist."""
    append_records(path, LatencyRow, rows)


def read_rows(path: Path) -> list[LatencyRow]:
    """All rows of the CSV; none where the file does not exist.

    Raises:
        ValueError, TypeError: a row does not match the schema.
    """
    return read_records(path, LatencyRow)
