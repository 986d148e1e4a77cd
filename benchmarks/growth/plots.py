"""Plots of growth and of starts; they need matplotlib (extra ``bench``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.growth.results import CAPTIONS, Measured, plotted
from benchmarks.latency.plots import SIZE
from benchmarks.latency.rows import Row


def draw(found: Measured, folder: Path) -> None:
    """Draw, as PNG, every plot for which there are rows."""
    kinds: dict[str, tuple[Callable[[Axes, Measured], None], str]] = {
        "growth_resolution": (_resolution, found.resolution[0].device if found.resolution else ""),
        "growth_batch": (_batch, found.batch[0].device if found.batch else ""),
        "growth_blends": (_blends, found.starts[0].device if found.starts else ""),
        "starts": (_starts, found.starts[0].device if found.starts else ""),
    }
    for name in plotted(found):
        kind, device = kinds[name]
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        kind(axes, found)
        axes.set_title(f"{CAPTIONS[name]}\n{device}", fontsize=9)
        figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})


def _resolution(axes: Axes, found: Measured) -> None:
    _curves(axes, found.resolution, lambda row: row.resolution)
    axes.set_xlabel("resolution")
    axes.set_ylabel("ms, median and p5 to p95")


def _batch(axes: Axes, found: Measured) -> None:
    _curves(axes, found.batch, lambda row: row.batch)
    axes.set_xlabel("pictures in a batch")
    axes.set_ylabel("ms of one picture, median and p5 to p95")


def _curves(axes: Axes, rows: Sequence[Row], place: Callable[[Row], int]) -> None:
    """A curve for each stage, its times divided by the batch."""
    rows = [row for row in rows if row.p50_ms is not None]
    for stage in dict.fromkeys(row.stage for row in rows):
        ours = [row for row in rows if row.stage == stage]
        places = [place(row) for row in ours]
        times = [(row.p5_ms or 0, row.p50_ms or 0, row.p95_ms or 0) for row in ours]
        p5, p50, p95 = zip(
            *([ms / row.batch for ms in each] for row, each in zip(ours, times, strict=True)), strict=True
        )
        axes.fill_between(places, p5, p95, alpha=0.2)
        axes.plot(places, p50, "o-", label=f"{stage}, {ours[0].engine} {ours[0].precision}")
    axes.set_xticks(sorted({place(row) for row in rows}))
    axes.set_ylim(bottom=0)
    axes.legend()


def _blends(axes: Axes, found: Measured) -> None:
    counts = [row.blends for row in found.blends]
    for label, style, sizes in (
        ("resident after answering", "o-", [row.pss_mib for row in found.blends]),
        ("peaks, loading included", "^:", [row.peak_mib for row in found.blends]),
    ):
        axes.plot(counts, [(size or 0) / 1024 for size in sizes], style, color="steelblue", label=label)
    axes.set_xticks(counts)
    axes.set_xlabel("blends served")
    axes.set_ylabel("GiB, all processes of the server")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.plot(counts, [row.first_s or 0 for row in found.blends], "s--", color="darkorange", label="first answer")
    right.set_ylabel("s to the first answer")
    right.set_ylim(bottom=0)
    axes.figure.legend(loc="outside lower center", ncols=3)


def _starts(axes: Axes, found: Measured) -> None:
    labels = {"off": "no cache", "empty": "cache, first start", "filled": "cache, later starts"}
    rows = [found.cached[name] for name in labels if name in found.cached]
    middles = [row.first_s or 0 for row in rows]
    below = [middle - min(row.firsts) for middle, row in zip(middles, rows, strict=True)]
    above = [max(row.firsts) - middle for middle, row in zip(middles, rows, strict=True)]
    bars = axes.barh([labels[row.cache] for row in rows], middles, xerr=[below, above], capsize=3, color="steelblue")
    axes.bar_label(bars, fmt="%.1f", padding=8)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("s, median and range of the starts")
