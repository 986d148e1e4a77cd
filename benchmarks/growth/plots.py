"""Plots of the growth rows and the start rows; they need matplotlib (extra ``bench``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.growth.results import CAPTIONS, LatestRows, plotted
from benchmarks.latency.plots import SIZE
from benchmarks.latency.rows import LatencyRow


def draw(latest: LatestRows, folder: Path) -> None:
    """Draw, as PNG, every plot for which there are rows."""
    kinds: dict[str, tuple[Callable[[Axes, LatestRows], None], str]] = {
        "growth_resolution": (_resolution, latest.resolution[0].device if latest.resolution else ""),
        "growth_batch": (_batch, latest.batch[0].device if latest.batch else ""),
        "growth_blends": (_blends, latest.starts[0].device if latest.starts else ""),
        "starts": (_starts, latest.starts[0].device if latest.starts else ""),
    }
    for name in plotted(latest):
        kind, device = kinds[name]
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        kind(axes, latest)
        axes.set_title(f"{CAPTIONS[name]}\n{device}", fontsize=9)
        figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})


def _resolution(axes: Axes, latest: LatestRows) -> None:
    _curves(axes, latest.resolution, lambda row: row.resolution)
    axes.set_xlabel("resolution")
    axes.set_ylabel("ms, median and p5 to p95")


def _batch(axes: Axes, latest: LatestRows) -> None:
    _curves(axes, latest.batch, lambda row: row.batch)
    axes.set_xlabel("pictures in a batch")
    axes.set_ylabel("ms of one picture, median and p5 to p95")


def _curves(axes: Axes, rows: Sequence[LatencyRow], place: Callable[[LatencyRow], int]) -> None:
    """A curve for each stage; times are divided by the batch size."""
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


def _blends(axes: Axes, latest: LatestRows) -> None:
    counts = [row.blends for row in latest.blends]
    for label, style, sizes in (
        ("resident after answering", "o-", [row.pss_mib for row in latest.blends]),
        ("peaks, loading included", "^:", [row.peak_mib for row in latest.blends]),
    ):
        axes.plot(counts, [(size or 0) / 1024 for size in sizes], style, color="steelblue", label=label)
    axes.set_xticks(counts)
    axes.set_xlabel("blends served")
    axes.set_ylabel("GiB, all processes of the server")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.plot(counts, [row.first_s or 0 for row in latest.blends], "s--", color="darkorange", label="first answer")
    right.set_ylabel("s to the first answer")
    right.set_ylim(bottom=0)
    axes.figure.legend(loc="outside lower center", ncols=3)


def _starts(axes: Axes, latest: LatestRows) -> None:
    labels = {"off": "no cache", "empty": "cache, first start", "filled": "cache, later starts"}
    rows = [latest.cached[name] for name in labels if name in latest.cached]
    middles = [row.first_s or 0 for row in rows]
    below = [middle - min(row.firsts) for middle, row in zip(middles, rows, strict=True)]
    above = [max(row.firsts) - middle for middle, row in zip(middles, rows, strict=True)]
    bars = axes.barh([labels[row.cache] for row in rows], middles, xerr=[below, above], capsize=3, color="steelblue")
    axes.bar_label(bars, fmt="%.1f", padding=8)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("s, median and range of the starts")
