"""``python -m benchmarks.gpu.report``: writes the GPU tables of README.md from the raw rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.generated import README, line, number, with_section
from benchmarks.gpu.rows import KERNELS, LATENCIES, GpuRow, KernelRow
from benchmarks.gpu.subjects import PORT
from benchmarks.records import read_records
from benchmarks.rounds import ratio_over_rounds


def with_tables(text: str, rows: Sequence[GpuRow], kernels: Sequence[KernelRow]) -> str:
    """Replace the text between this module's markers by the tables of the last run on each device."""
    return with_section(text, "benchmarks.gpu.report", tables(rows, kernels))


def tables(rows: Sequence[GpuRow], kernels: Sequence[KernelRow]) -> str:
    """All tables, in Markdown."""
    if not rows and not kernels:
        return "\nNothing has been measured on a GPU yet.\n"
    lines: list[str] = []
    for device in sorted({row.device for row in rows}):
        run = max(row.run for row in rows if row.device == device)
        lines += _latencies([row for row in rows if (row.device, row.run) == (device, run)])
        lines += _kernels([row for row in kernels if (row.device, row.run) == (device, run)])
    return "\n".join(lines)


def _latencies(rows: Sequence[GpuRow]) -> Iterator[str]:
    yield f"\n### {rows[0].device}\n"
    yield "| stage | engine | precision | batch | ms | p5 to p95 | host to host | pictures/s | beside the fp16 port |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        cells = [row.stage, row.engine, row.precision, str(row.batch)]
        if row.host_p50_ms is None:
            cells += [f"{row.status}: {row.reason}".replace("|", "/"), "", "", "", ""]
        else:
            note = " (interrupted)" if row.status == "interrupted" else ""
            spread = "" if row.p50_ms is None else f"{number(row.p5_ms)} to {number(row.p95_ms)}"
            cells += [f"{number(row.p50_ms)}{note}", spread, number(row.host_p50_ms)]
            cells += [number(1e3 * row.batch / (row.p50_ms or row.host_p50_ms)), _beside_port(row, rows)]
        yield line(*cells)
    yield "\n| stage | engine | precision | batch | worst error | mean error | PSNR, dB | loaded in, s | GPU MiB |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        if row.psnr_db is not None:
            numbers = (row.worst_error, row.mean_error, row.psnr_db, row.load_s, row.peak_mib)
            cells = [row.stage, row.engine, row.precision, str(row.batch), *map(number, numbers)]
            yield line(*cells)
    yield f"\nRun {rows[0].run}, commit {rows[0].commit}; {rows[0].versions}.\n"


def _beside_port(row: GpuRow, rows: Sequence[GpuRow]) -> str:
    same = [r for r in rows if (r.group, r.stage, r.batch) == (row.group, row.stage, row.batch)]
    port = [r.rounds for r in same if (r.engine, r.precision) == (PORT, "fp16")]
    ratios = [p / own for p, own in zip(port[0], row.rounds, strict=False)] if port else []
    return str(ratio_over_rounds(ratios)) if ratios else ""


def _kernels(rows: Sequence[KernelRow]) -> Iterator[str]:
    if rows:
        yield "| kernel | channels | output | batch | us | GB/s | TFLOP/s | bound by | of its limit |"
        yield "|---|--:|--:|--:|--:|--:|--:|---|--:|"
    for row in rows:
        layer = [row.kernel, f"{row.channels_in} to {row.channels_out}", str(row.size), str(row.batch)]
        if row.p50_ms is None:
            rest = [f"{row.status}: {row.reason}".replace("|", "/"), "", "", "", ""]
        else:
            rates = ((row.mbyte or 0) / row.p50_ms, (row.gflop or 0) / row.p50_ms)
            reached = "" if row.fraction is None else f"{row.fraction:.0%}"
            rest = [number(1e3 * row.p50_ms), *map(number, rates), row.bound, reached]
        yield line(*layer, *rest)
    yield ""


def main() -> None:
    """Write the tables into README.md."""
    rows, kernels = read_records(LATENCIES, GpuRow), read_records(KERNELS, KernelRow)
    README.write_text(with_tables(README.read_text(), rows, kernels))


if __name__ == "__main__":
    main()
