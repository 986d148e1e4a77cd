"""``python -m benchmarks.video``: how fast, how steady and in how much memory videos are toonified.

``results/video.json`` holds the rows; the tables of README.md here and the plots come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks import machine
from benchmarks.generated import VIDEO_README
from benchmarks.records import RESULTS_FOLDER
from benchmarks.video.clip import DrawnClip, KnownLandmarks, StandIn, draw_clip
from benchmarks.video.flicker import measure_flicker
from benchmarks.video.memory import measure_memory
from benchmarks.video.report import with_tables
from benchmarks.video.rows import Figures, Row, attempted, read_figures, write_figures
from benchmarks.video.speed import Setting, measure_speed
from serving.command_line import run, stages
from serving.faces.haar import HaarLandmarker
from serving.toonifier import Toonifier

RESULTS = RESULTS_FOLDER / "video.json"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        size: of the frames whose speed is measured.
        frames, drawn: of that clip, and how many of them differ.
        rounds: turns of every condition.
        models: the demo models; else the stand-in takes their place.
        wait: seconds that the stand-in takes for a picture.
        still: frames of the clips whose flicker is measured.
        long, step: frames of the clip that memory is measured on, and between two samples.
    """

    size: tuple[int, int]
    frames: int
    drawn: int
    rounds: int
    models: bool
    wait: float
    still: int
    long: int
    step: int


FULL = Plan((1920, 1080), 200, 50, 3, models=True, wait=0.05, still=50, long=10_000, step=500)
QUICK = Plan((320, 240), 12, 6, 2, models=False, wait=0.001, still=12, long=60, step=20)
"""For functional tests; its times mean nothing."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small, short, without models: does it work?")] = False,
    results: Annotated[Path, typer.Option(help="The JSON file; plots are put beside it.")] = RESULTS,
) -> None:
    """Measure how videos are toonified; write the rows, the plots, and the tables of README.md."""
    if quick and results == RESULTS:
        raise typer.BadParameter("a quick run's times mean nothing: give --results another file")
    from benchmarks.video.plots import draw  # before the measurement: it may be missing

    with stages() as report, TemporaryDirectory() as folder:
        figures = measure(QUICK if quick else FULL, Path(folder), report)
    write_figures(results, figures)
    draw(figures.rows, results.parent)
    typer.echo(f"Rows are in {results}.")
    if results == RESULTS:
        VIDEO_README.write_text(with_tables(VIDEO_README.read_text(), read_figures(results)))


def measure(plan: Plan, folder: Path, report: Report) -> Figures:
    """Everything; what fails is a row."""
    started = machine.now()
    report(f"memory over {plan.long} frames")
    rows = [*attempted("memory", partial(measure_memory, folder, plan.long, plan.step))]
    report("drawing the clip")
    clip = draw_clip(folder / "clip.mp4", plan.size, plan.frames, drawn=plan.drawn)
    for name, part in (("demo models", _with_models), ("stand-in", _with_stand_in)):
        rows += attempted(name, partial(part, plan, clip, folder, report))
    versions = f"{machine.versions()}; av {version('av')}; opencv {version('opencv-python-headless')}"
    return Figures(started, machine.commit(), machine.device(), machine.cores(), versions, tuple(rows))


def _with_models(plan: Plan, clip: DrawnClip, folder: Path, report: Report) -> Sequence[Row]:
    """Flicker, and the speed of all that ``toonify video`` does unless it is told otherwise."""
    with _models(plan, folder, report) as toonifier:
        report("flicker")
        flicker = measure_flicker(toonifier, plan.still)
        name = f"{'demo models' if plan.models else 'stand-in'}, Haar landmarks"
        setting = Setting(name, clip, toonifier, HaarLandmarker)
        return [*flicker, *measure_speed(setting, folder, plan.rounds, report)]


def _with_stand_in(plan: Plan, clip: DrawnClip, folder: Path, report: Report) -> Sequence[Row]:
    """The speed where models need none of the cores that all other stages share."""
    name = f"stand-in, {1e3 * plan.wait:g} ms a picture, known landmarks"
    setting = Setting(name, clip, StandIn(plan.wait), lambda: KnownLandmarks(clip.points))
    return measure_speed(setting, folder, plan.rounds, report)


def _models(plan: Plan, folder: Path, report: Report) -> Toonifier:
    if not plan.models:
        return StandIn()
    from benchmarks.video.models import demo_toonifier

    return demo_toonifier(folder, report)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
