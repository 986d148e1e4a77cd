"""``python -m benchmarks.video``: measures the speed, the memory and the flicker of toonified videos.

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
from benchmarks.records import RESULTS_FOLDER, check_results
from benchmarks.video.clip import DrawnClip, KnownLandmarks, StandInToonifier, draw_clip
from benchmarks.video.flicker import measure_flicker
from benchmarks.video.memory import measure_memory
from benchmarks.video.report import with_tables
from benchmarks.video.rows import Row, VideoResults, read_results, rows_or_failure, write_results
from benchmarks.video.speed import Setting, measure_speed
from serving.command_line import run, stages
from serving.faces.haar import HaarLandmarker
from serving.toonifier import Toonifier

RESULTS = RESULTS_FOLDER / "video.json"

Report = Callable[[str], None]


@dataclass(frozen=True)
class VideoOptions:
    """How much is measured.

    Attributes:
        size: width and height of the clip on which speed is measured.
        frames, drawn: number of its frames, and how many of them differ.
        rounds: number of rounds, in each of which every case runs once.
        models: whether the demo models are measured; otherwise the stand-in takes their place.
        wait: seconds that the stand-in takes for a picture.
        still: number of frames of the clips on which flicker is measured.
        long, step: number of frames of the clip on which memory is measured, and between two samples.
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


FULL = VideoOptions((1920, 1080), 200, 50, 3, models=True, wait=0.05, still=50, long=10_000, step=500)
QUICK = VideoOptions((320, 240), 12, 6, 2, models=False, wait=0.001, still=12, long=60, step=20)
"""Options for functional tests; their times mean nothing."""


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small, short, without models: only checks that it runs.")
    ] = False,
    results: Annotated[Path, typer.Option(help="JSON file of the rows; the plots are written beside it.")] = RESULTS,
) -> None:
    """Measure speed, memory and flicker of toonified videos; write the rows, the plots, and the tables of README.md."""
    check_results(results, RESULTS, quick=quick)
    from benchmarks.video.plots import draw  # before the measurement, since matplotlib may be missing

    with stages() as report, TemporaryDirectory() as folder:
        video_results = measure(QUICK if quick else FULL, Path(folder), report)
    write_results(results, video_results)
    draw(video_results.rows, results.parent)
    typer.echo(f"Rows are in {results}.")
    if results == RESULTS:
        VIDEO_README.write_text(with_tables(VIDEO_README.read_text(), read_results(results)))


def measure(options: VideoOptions, folder: Path, report: Report) -> VideoResults:
    """Measure memory, flicker and speed; a part that fails becomes a row with its error."""
    started = machine.now()
    report(f"memory over {options.long} frames")
    rows = [*rows_or_failure("memory", partial(measure_memory, folder, options.long, options.step))]
    report("drawing the clip")
    clip = draw_clip(folder / "clip.mp4", options.size, options.frames, drawn=options.drawn)
    for name, part in (("demo models", _with_models), ("stand-in", _with_stand_in)):
        rows += rows_or_failure(name, partial(part, options, clip, folder, report))
    versions = f"{machine.versions()}; av {version('av')}; opencv {version('opencv-python-headless')}"
    return VideoResults(started, machine.commit(), machine.device(), machine.cores(), versions, tuple(rows))


def _with_models(options: VideoOptions, clip: DrawnClip, folder: Path, report: Report) -> Sequence[Row]:
    """Flicker, and the speed with the models and the landmarks that ``toonify video`` uses by default."""
    with _models(options, folder, report) as toonifier:
        report("flicker")
        flicker = measure_flicker(toonifier, options.still)
        name = f"{'demo models' if options.models else 'stand-in'}, Haar landmarks"
        setting = Setting(name, clip, toonifier, HaarLandmarker)
        return [*flicker, *measure_speed(setting, folder, options.rounds, report)]


def _with_stand_in(options: VideoOptions, clip: DrawnClip, folder: Path, report: Report) -> Sequence[Row]:
    """The speed where the models use none of the cores, which then are free for the other stages."""
    name = f"stand-in, {1e3 * options.wait:g} ms a picture, known landmarks"
    setting = Setting(name, clip, StandInToonifier(options.wait), lambda: KnownLandmarks(clip.points))
    return measure_speed(setting, folder, options.rounds, report)


def _models(options: VideoOptions, folder: Path, report: Report) -> Toonifier:
    if not options.models:
        return StandInToonifier()
    from benchmarks.video.models import demo_toonifier

    return demo_toonifier(folder, report)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
