"""``python -m benchmarks.latency.report``: writes the tables of README.md, the main README's summary, and the plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from benchmarks.generated import MAIN_README, README, line, number, with_section
from benchmarks.latency.cases import COMPILED, EAGER, GENERATOR_ENGINES, PORT, PORT_ONNX
from benchmarks.latency.results import (
    CAPTIONS,
    batches,
    current,
    devices,
    gflops,
    measured,
    plotted,
    ratio,
    roofline_limits,
    served_engines,
)
from benchmarks.latency.rows import RESULTS, LatencyRow, read_rows
from benchmarks.rounds import ratio_over_rounds

PYTORCH = (PORT, EAGER, COMPILED)
"""Engines of the generator that run in PyTorch."""


def with_tables(text: str, rows: Sequence[LatencyRow]) -> str:
    """Replace the text between this module's markers by the tables of these rows."""
    return with_section(text, "benchmarks.latency.report", tables(rows))


def tables(rows: Sequence[LatencyRow]) -> str:
    """All tables, in Markdown."""
    if not rows:
        return "\nNothing has been measured yet.\n"
    sections = [_device([row for row in rows if (row.device, row.threads) == device]) for device in devices(rows)]
    plots = [f"![{CAPTIONS[name]}](results/{name}.png)\n" for name in plotted(rows)]
    return "\n".join([*chain.from_iterable(sections), *plots])


def with_summary(text: str, rows: Sequence[LatencyRow]) -> str:
    """Replace the text between this module's markers by a table with a line for each machine of these rows."""
    machines = ([row for row in rows if (row.device, row.threads) == device] for device in devices(rows))
    head = [
        "| processor | generator at 1024x1024 | ms | times as fast as the usual port | as PyTorch's fastest form |",
        "|---|---|--:|--:|--:|",
    ]
    return with_section(
        text, "benchmarks.latency.report", "\n".join(["", *head, *filter(None, map(_summary, machines)), ""])
    )


def _summary(rows: Sequence[LatencyRow]) -> str:
    """The fastest engine on one machine, compared with the port and with PyTorch's fastest; "" where one is missing."""
    generators = measured(current(rows, "generators", 1))
    port = [row for row in generators if row.engine == PORT]
    pytorch = _fastest(row for row in generators if row.engine in PYTORCH)
    ours = _fastest(row for row in generators if row.engine not in (*PYTORCH, PORT_ONNX))
    if not (port and pytorch and ours):
        return ""
    names = [f"{row.engine}, {row.precision}" for row in (*ours, *pytorch)]
    if newer := [engine for engine in GENERATOR_ENGINES if engine not in {row.engine for row in rows}]:
        names[0] += f" (older than {', '.join(newer)})"
    times = [str(ratio(other, ours)) for other in (port, pytorch)]
    return line(rows[0].device, names[0], number(ours[0].p50_ms), times[0], f"{times[1]}: {names[1]}")


def _fastest(rows: Iterable[LatencyRow]) -> list[LatencyRow]:
    return sorted(rows, key=lambda row: row.p50_ms or 0)[:1]


def _device(rows: Sequence[LatencyRow]) -> Iterator[str]:
    yield f"\n### {rows[0].device}, {rows[0].threads} threads\n"
    for batch in batches(rows):
        generators, stages = current(rows, "generators", batch), current(rows, "stages", batch)
        if generators:
            yield from _generators(generators, batch)
        if stages:
            yield from _stages(stages, batch)
    yield from _in_flight(current(rows, "stages", 1))
    yield from _roofline(rows)


def _provenance(rows: Sequence[LatencyRow]) -> str:
    return f"Run {rows[0].run}, commit {rows[0].commit}; {rows[0].versions}.\n"


def _generators(rows: Sequence[LatencyRow], batch: int) -> Iterator[str]:
    port = [row for row in rows if row.engine == PORT]
    yield f"**Generator, batch {batch}**\n"
    yield "| engine | precision | ms | p5 to p95 | n | times as fast as the port | worst error | PSNR, dB | MiB |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        yield line(row.engine, row.precision, *times(row), str(ratio(port, [row]) or ""), *quality(row))
    yield f"\n{_provenance(rows)}"


def _stages(rows: Sequence[LatencyRow], batch: int) -> Iterator[str]:
    yield f"**Stages and the whole, batch {batch}**\n"
    yield "| stage | engine | precision | served | ms | p5 to p95 | n | worst error | PSNR, dB | MiB |"
    yield "|---|---|---|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        if row.in_flight == 1:
            served = "yes" if row.served else ""
            yield line(row.stage, row.engine, row.precision, served, *times(row), *quality(row))
    engines = served_engines(rows)
    for stage in ("pipeline", "ensemble"):
        whole = [row for row in rows if row.stage == stage and row.in_flight == 1]
        if len(engines) == 3 and (times_sum := ratio(whole, engines)):
            yield f"\nThe {stage} takes {times_sum} times the sum of its three engines."
    for row in rows:
        if over := [float(part) for part in row.over_engines.split()]:
            yield f"\nThe {row.stage}'s calls take {ratio_over_rounds(over)} times what its engines compute in them."
    yield f"\n{_provenance(rows)}"


def _in_flight(rows: Sequence[LatencyRow]) -> Iterator[str]:
    flights = [row for row in rows if row.stage == "ensemble"]
    if len(flights) > 1:
        yield "**Whole service, batch 1, requests in flight**\n"
        yield "| in flight | pictures/s | ms | p5 to p95 | n | worst error | PSNR, dB | MiB |"
        yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
        for row in flights:
            yield line(str(row.in_flight), number(row.pictures_per_s), *times(row), *quality(row))
        yield f"\n{_provenance(flights)}"


def _roofline(rows: Sequence[LatencyRow]) -> Iterator[str]:
    lines = list(chain.from_iterable(_reached(rows, batch) for batch in batches(rows)))
    if lines:
        yield "**Fraction of the machine's limit that the generator reaches**\n"
        yield "| engine | precision | batch | GFLOP/s | limit | set by | fraction |\n|---|---|--:|--:|--:|---|--:|"
        yield from lines
        yield ""


def _reached(rows: Sequence[LatencyRow], batch: int) -> Iterator[str]:
    for row in measured(current(rows, "generators", batch)):
        limits = roofline_limits(rows, row.run).gflops
        if limits:
            # No library computes in int16: it is compared with the highest limit of all precisions.
            limit, by = limits.get(row.precision) or max(limits.values())
            reached = gflops(row)
            numbers = f"{reached:.0f}", f"{limit:.0f}", by, f"{reached / limit:.0%}"
            yield line(row.engine, row.precision, str(batch), *numbers)


def times(row: LatencyRow) -> tuple[str, str, str]:
    """Table cells of the median, the percentiles and the number of calls; or the reason why there are none."""
    if row.p50_ms is None:
        return f"{row.status}: {row.reason}".replace("|", "/"), "", ""  # a bar would end the cell
    note = " (interrupted)" if row.status == "interrupted" else ""
    return number(row.p50_ms), f"{number(row.p5_ms)} to {number(row.p95_ms)}", f"{row.n}{note}"


def quality(row: LatencyRow) -> tuple[str, str, str]:
    """Table cells of the worst error, the PSNR and the peak memory."""
    psnr = "equal" if row.psnr_db == float("inf") else number(row.psnr_db)
    return number(row.worst_error), psnr, "" if row.peak_mib is None else f"{row.peak_mib:.0f}"


def main() -> None:
    """Write the tables and the summary into both READMEs, and the plots beside the CSV."""
    from benchmarks.latency.plots import draw

    rows = read_rows(RESULTS)
    README.write_text(with_tables(README.read_text(), rows))
    MAIN_README.write_text(with_summary(MAIN_README.read_text(), rows))
    draw(rows, RESULTS.parent)


if __name__ == "__main__":
    main()
