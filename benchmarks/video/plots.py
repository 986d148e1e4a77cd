"""Plots of the video benchmark; they need matplotlib (extra ``bench``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.video.clip import RATE
from benchmarks.video.report import rows_of, settings
from benchmarks.video.rows import FlickerRow, Row, SpeedCase, StageRow

SMOOTHING_COLOURS = {"off": "firebrick", "live": "darkorange", "file": "steelblue"}
CASE_COLOURS: dict[SpeedCase, str] = {
    "alone": "lightsteelblue",
    "toonify_video": "steelblue",
    "one thread": "darkorange",
}
BAR_HEIGHT = 0.8 / len(CASE_COLOURS)


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Draw, as PNG, every plot for which there are rows."""
    still = [row for row in rows_of(rows, FlickerRow) if row.head == "still"]
    if still:
        _flicker(still).savefig(folder / "video_flicker.png", dpi=120, metadata={"Software": None})
    if rows_of(rows, StageRow):
        _stages(rows).savefig(folder / "video_stages.png", dpi=120, metadata={"Software": None})


def _flicker(rows: Sequence[FlickerRow]) -> Figure:
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for row in rows:
        label = row.smoothing if row.noise_px else "off, exact landmarks"
        colour = SMOOTHING_COLOURS[row.smoothing] if row.noise_px else "grey"
        seconds = [(number + 1) / RATE for number in range(len(row.jitter_px))]
        above.plot(seconds, row.jitter_px, color=colour, label=label)
        below.plot(seconds, row.change, color=colour)
    above.set_title("Flicker of a still head, by smoothing", fontsize=9)
    above.set_ylabel("corners of the crop move, px")
    below.set_ylabel("still parts change, levels")
    below.set_xlabel("seconds")
    figure.legend(loc="outside lower center", ncols=len(rows))
    return figure


def _stages(rows: Sequence[Row]) -> Figure:
    names = settings(rows)
    figure = Figure(figsize=(8.0, 2.6 * len(names)), layout="constrained")
    for axes, setting in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        _bars(axes, [row for row in rows_of(rows, StageRow) if row.setting == setting])
        axes.set_title(setting, fontsize=9)
    axes.set_xlabel("ms of a frame, median and p5 to p95")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(CASE_COLOURS))
    return figure


def _bars(axes: Axes, rows: Sequence[StageRow]) -> None:
    stages = [*dict.fromkeys(row.stage for row in rows)]
    for number, (condition, colour) in enumerate(CASE_COLOURS.items()):
        ours = [row for row in rows if row.condition == condition]
        places = [stages.index(row.stage) + (number - 1) * BAR_HEIGHT for row in ours]
        below = [row.p50_ms - row.p5_ms for row in ours]
        above = [row.p95_ms - row.p50_ms for row in ours]
        medians = [row.p50_ms for row in ours]
        axes.barh(places, medians, BAR_HEIGHT, xerr=[below, above], color=colour, label=condition, capsize=2)
    axes.set_yticks(range(len(stages)), stages)
    axes.invert_yaxis()
