"""Plots of the latency rows; they need matplotlib (extra ``bench``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.latency.results import CAPTIONS, gflops, plotted, roofline_limits, served_engines
from benchmarks.latency.rows import LatencyRow

SIZE = (8.0, 4.5)

MARKERS = {"fp32": "o", "bf16": "s", "int16": "^"}
"""Markers by precision, since there are more engines than colours."""


def draw(rows: Sequence[LatencyRow], folder: Path) -> None:
    """Draw, as PNG, every plot for which there are rows."""
    kinds: dict[str, Callable[[Axes, Sequence[LatencyRow]], None]] = {
        "generators": _generators,
        "stages": _stages,
        "roofline": lambda axes, chosen: _roofline(axes, chosen, rows),
        "in_flight": _in_flight,
    }
    for name, chosen in plotted(rows).items():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        kinds[name](axes, chosen)
        figure.suptitle(f"{CAPTIONS[name]}\n{chosen[0].device}, {chosen[0].threads} threads", fontsize=9)
        figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})


def _name(row: LatencyRow) -> str:
    return f"{row.engine}, {row.precision}"


def _generators(axes: Axes, rows: Sequence[LatencyRow]) -> None:
    _bars(axes, rows, [_name(row) for row in rows])
    axes.invert_yaxis()


def _stages(axes: Axes, rows: Sequence[LatencyRow]) -> None:
    """The three engines' times end to end; below them, all three in one process and behind the server."""
    start = 0.0
    for row in served_engines(rows):
        middle = row.p50_ms or 0
        axes.barh("engines, each alone", middle, left=start, label=f"{row.stage}, {_name(row)}: {middle:.3g} ms")
        start += middle
    wholes = [row for row in rows if row.stage in ("pipeline", "ensemble")]
    _bars(axes, wholes, [row.stage for row in wholes])
    axes.invert_yaxis()
    axes.figure.legend(loc="outside lower center", ncols=3, fontsize=8)


def _bars(axes: Axes, rows: Sequence[LatencyRow], names: Sequence[str]) -> None:
    medians = [row.p50_ms or 0 for row in rows]
    below = [median - (row.p5_ms or 0) for median, row in zip(medians, rows, strict=True)]
    above = [(row.p95_ms or 0) - median for median, row in zip(medians, rows, strict=True)]
    bars = axes.barh(names, medians, xerr=[below, above], capsize=3, color="steelblue")
    axes.bar_label(bars, fmt="%.0f", padding=8)
    axes.margins(x=0.12)
    axes.set_xlabel("ms, median and p5 to p95")


def _in_flight(axes: Axes, rows: Sequence[LatencyRow]) -> None:
    counts = [row.in_flight for row in rows]
    axes.fill_between(counts, [row.p5_ms or 0 for row in rows], [row.p95_ms or 0 for row in rows], alpha=0.2)
    axes.plot(counts, [row.p50_ms or 0 for row in rows], "o-", label="latency, median and p5 to p95")
    axes.set_xlabel("requests in flight")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    right, throughputs = axes.twinx(), [row.pictures_per_s or 0 for row in rows]
    right.plot(counts, throughputs, "s--", color="darkorange", label="throughput")
    right.set_ylabel("pictures/s")
    right.set_ylim(0, 1.1 * max(throughputs) or None)
    axes.figure.legend(loc="outside lower center", ncols=2)


def _roofline(axes: Axes, generators: Sequence[LatencyRow], rows: Sequence[LatencyRow]) -> None:
    limits = roofline_limits(rows, generators[0].run)
    intensities = [1.0, 10.0, 100.0, 1000.0]
    for precision, (limit, by) in limits.gflops.items():
        slope = [min(limit, (limits.gbytes or limit) * intensity) for intensity in intensities]
        # The ridge point, where the two limits meet, is not among the powers of ten.
        points = sorted([*zip(intensities, slope, strict=True), (limit / (limits.gbytes or limit), limit)])
        axes.plot(*zip(*points, strict=True), label=f"limit, {precision} ({by})")
    for row in generators:
        axes.plot(2 * (row.gmac or 0) / (row.gbyte or 1), gflops(row), MARKERS[row.precision], label=_name(row))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte, maps and weights counted once in float32")
    axes.set_ylabel("GFLOP/s")
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7)
