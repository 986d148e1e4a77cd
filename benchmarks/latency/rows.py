"""The schema of ``results/latency.csv`` and ``growth.csv``: one row is one measured condition, or the reason why it was
not measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.records import RESULTS_FOLDER, Status, append_records, read_records

RESULTS = RESULTS_FOLDER / "latency.csv"


@dataclass(frozen=True)
class Row:
    """One condition of one run; the fields are the CSV's columns.

    Attributes:
        run: UTC time at which the run started; identifies the run.
        time: UTC time at which the row was written.
        commit: of this repository; "+changes" where the code differed from it.
        group: the conditions of one group, batch and run alternated, so only they may be divided by each other.
        stage: generator, isf, encoder (one network), pipeline (all three in one process), ensemble (all three in
            Triton, asked over gRPC), roof (what the machine can do at best).
        served: whether the served ensemble runs this stage in this engine and precision.
        resolution: of the picture; 0 where none is made.
        status: "interrupted" rows hold the rounds that were finished; of the last two, ``reason`` says why.
        n: calls that were timed.
        rounds_ms: the median of each round, separated by spaces; rounds of one group belong together in order.
        over_engines: of a server that is asked one by one: in each round the time of its calls over what its engines
            computed in them, by Triton's statistics.
        pictures_per_s: pictures (of a roof: calls) over the wall time of all turns.
        load_s: from nothing to a loaded model, library import included; of the ensemble until it has answered once.
        peak_mib: largest resident memory while answering, of all processes of the condition but the client's.
        worst_error, psnr_db: against PyTorch in float32; of pictures in levels of 0..255, of codes in their own unit
            and relative to their range; infinite PSNR where both are equal.
        gmac: 10^9 multiply-accumulates for one picture (of a roof: one call).
        gbyte: 10^9 bytes for one picture at least: every map once in and once out, every weight once, in float32.
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
        """Median of each round in ms."""
        return [float(part) for part in self.rounds_ms.split()]


COLUMNS = tuple(field.name for field in fields(Row))


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append to the CSV, which is begun where there is none."""
    append_records(path, Row, rows)


def read_rows(path: Path) -> list[Row]:
    """All rows of the CSV; none where there is no file.

    Raises:
        pydantic.ValidationError: a row is not of the schema.
    """
    return read_records(path, Row)
