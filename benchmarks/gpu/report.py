"""``python -m benchmarks.gpu.report``: writes the tables of README.md from the committed rows.

With a run's folder it prints the tables of that run, also of one that ended early; with ``--keep`` too, it adds that
run's rows to the committed ones first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generated import README, line, number, with_section
from benchmarks.gpu.results import Results, latest
from benchmarks.gpu.rows import FILES, OURS, PORT, CaseRow, GpuRow, KernelRow, ProfileRow, RunRow, StepRow
from benchmarks.records import RESULTS_FOLDER, append_records, read_records
from benchmarks.rounds import ratio_over_rounds

MIN_PSNR = 40.0
"""Least PSNR of this package's engine in dB; below it, differences are visible."""
PROFILED = 20
"""Number of kernels in the table of a profile."""


def with_tables(text: str, folder: Path) -> str:
    """Replace the text between this module's markers by the tables of the last run on each device."""
    return with_section(text, "benchmarks.gpu.report", tables(folder))


def tables(folder: Path) -> str:
    """All tables of the last run on each device, in Markdown."""
    rows = [row for kind, file in FILES.items() for row in read_records(folder / file.name, kind)]
    runs = {row.device: row for row in sorted(rows, key=lambda row: row.run)}
    if not runs:
        return "\nNothing has been measured on a GPU yet.\n"
    lines: list[str] = []
    for device, last in sorted(runs.items()):
        lines += _run([row for row in rows if (row.device, row.run) == (device, last.run)])
    return "\n".join(lines)


def summary(results: Results) -> tuple[str, list[str]]:
    """The tables of one run, and what is wrong: kernels, or pictures of the engine."""
    rows: list[RunRow] = [row for kind in FILES for row in results.rows(kind)]
    wrong = failures(rows)
    verdict = ["WRONG:", *wrong] if wrong else ["No kernel and no picture that was checked is wrong."]
    return "\n".join([*_run(rows), *verdict, ""]), wrong


def failures(rows: Sequence[RunRow]) -> list[str]:
    """What is wrong, a line each: failed steps, failed cases of kernels, this package's engine below ``MIN_PSNR``."""
    wrong = [f"{row.step}: {row.reason}" for row in rows if isinstance(row, StepRow) and row.status == "failed"]
    wrong += [f"{row.case}: {row.reason}" for row in rows if isinstance(row, CaseRow) and row.status == "failed"]
    for row in rows:
        if isinstance(row, GpuRow) and row.engine.startswith(OURS):
            inexact = row.psnr_db is not None and not row.psnr_db >= MIN_PSNR
            if row.status == "failed" or inexact:
                wrong.append(f"{row.stage}, {row.engine}, batch {row.batch}: {row.reason or f'{row.psnr_db:.1f} dB'}")
    return wrong


def _run(rows: Sequence[RunRow]) -> Iterator[str]:
    if not rows:
        return
    yield f"\n### {rows[0].device}\n"
    yield f"Run {rows[0].run}, commit {rows[0].commit}; {rows[0].versions}.\n"
    yield from _table(rows, StepRow, "| step | result | s | note |", _step_cells)
    yield from _table(
        rows,
        GpuRow,
        "| group | stage | engine | precision | batch | ms | p5 to p95 | host to host | pictures/s "
        "| beside the fp16 port | worst error | PSNR, dB | loaded in, s | GPU MiB |",
        lambda row: _latency_cells(row, [other for other in rows if isinstance(other, GpuRow)]),
    )
    yield from _profiles(latest(row for row in rows if isinstance(row, ProfileRow)))
    yield from _table(rows, CaseRow, "| case of the kernels' tests | result |", lambda row: [row.case, _result(row)])
    yield from _table(
        rows,
        KernelRow,
        "| kernel | channels | output | batch | variant | us | GB/s | TFLOP/s | bound by | of its limit |",
        _kernel_cells,
    )


def _table(rows: Sequence[RunRow], kind: type[RunRow], head: str, cells: Callable[[Any], list[str]]) -> Iterator[str]:
    chosen = latest(row for row in rows if isinstance(row, kind))
    if chosen:
        yield head
        yield f"|{'---|' * (head.count('|') - 1)}"
        yield from (line(*(cell.replace("|", "/") for cell in cells(row))) for row in chosen)
        yield ""


def _result(row: RunRow) -> str:
    return row.status if row.status == "ok" else f"{row.status}: {row.reason}" if row.reason else row.status


def _step_cells(row: StepRow) -> list[str]:
    return [row.step, _result(row), number(row.seconds), row.note]


def _latency_cells(row: GpuRow, rows: Sequence[GpuRow]) -> list[str]:
    cells = [row.group, row.stage, row.engine, row.precision, str(row.batch)]
    median = row.p50_ms or row.host_p50_ms
    if median is None:
        return [*cells, _result(row), *[""] * 8]
    spread = "" if row.p50_ms is None else f"{number(row.p5_ms)} to {number(row.p95_ms)}"
    cells += [number(row.p50_ms) + " (interrupted)" * (row.status == "interrupted"), spread, number(row.host_p50_ms)]
    errors = (row.worst_error, row.psnr_db, row.load_s, row.peak_mib)
    return [*cells, number(1e3 * row.batch / median), _beside_port(row, rows), *map(number, errors)]


def _beside_port(row: GpuRow, rows: Sequence[GpuRow]) -> str:
    same = [r for r in latest(rows) if (r.group, r.stage, r.batch) == (row.group, row.stage, row.batch)]
    port = [r.rounds for r in same if (r.engine, r.precision) == (PORT, "fp16")]
    ratios = [p / own for p, own in zip(port[0], row.rounds, strict=False)] if port else []
    return str(ratio_over_rounds(ratios)) if ratios else ""


def _profiles(rows: Sequence[ProfileRow]) -> Iterator[str]:
    for batch in sorted({row.batch for row in rows}):
        profile = sorted((row for row in rows if row.batch == batch), key=lambda row: -row.total_us)
        total = sum(row.total_us for row in profile)
        yield f"The kernels of one replay at batch {batch}: {number(total)} us in all.\n"
        yield "| kernel | launches | us | share |"
        yield "|---|--:|--:|--:|"
        for row in profile[:PROFILED]:
            name = row.kernel.replace("|", "/")[:80]
            yield line(name, str(row.calls), number(row.total_us), f"{row.total_us / total if total else 0:.0%}")
        yield ""


def _kernel_cells(row: KernelRow) -> list[str]:
    layer = [row.kernel, f"{row.channels_in} to {row.channels_out}", str(row.size), str(row.batch), row.variant]
    if row.p50_ms is None:
        return [*layer, _result(row), *[""] * 4]
    rates = ((row.mbyte or 0) / row.p50_ms, (row.gflop or 0) / row.p50_ms)
    reached = "" if row.fraction is None else f"{row.fraction:.0%}"
    return [*layer, number(1e3 * row.p50_ms), *map(number, rates), row.bound, reached]


def keep_rows(folder: Path, kept: Path) -> None:
    """Append the rows of a folder to those of the folder ``kept``, without rows that were measured again later."""
    for kind, file in FILES.items():
        if rows := read_records(folder / file.name, kind):
            last = max(row.run for row in rows)
            append_records(kept / file.name, kind, latest(row for row in rows if row.run == last))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.report", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a run's folder")
    parser.add_argument("--keep", action="store_true", help="add its last run to the committed rows, and to README.md")
    given = parser.parse_args()
    if given.folder and given.keep:
        keep_rows(given.folder, RESULTS_FOLDER)
    elif given.folder:
        sys.stdout.write(tables(given.folder))
        return
    README.write_text(with_tables(README.read_text(), RESULTS_FOLDER))


if __name__ == "__main__":
    main()
