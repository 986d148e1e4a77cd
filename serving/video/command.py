"""What the commands ``toonify video`` and ``toonify cam`` have in common: options, and the runner of their jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from serving.back_end import BackEnd
    from serving.controls import Style
    from serving.reporting import ProgressStyle
    from serving.video.running import Runner

OutputStyle = Annotated[
    Literal["paste", "crop", "side-by-side"],
    typer.Option(help="The whole frame, the face alone, or the original beside the whole frame."),
]
Size = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Side of the pictures with --output-style crop, in pixels. "
        "auto: 256, 512 or 1024, at least the face's size in the video, but at most the generator's resolution.",
    ),
]
Smooth = Annotated[
    Literal["file", "live", "off"],
    typer.Option(help="file looks ahead; live does not; off leaves faces where they are detected."),
]
Quality = Annotated[int, typer.Option(min=0, max=100, help="Video quality; 70 is hard to tell from the original.")]
Stats = Annotated[bool, typer.Option("--stats", help="Report at the end how long each stage took.")]


@contextmanager
def open_runner(
    back_end: BackEnd, align: str, style: Style, progress: ProgressStyle, stats: bool, *, smallest: float
) -> Iterator[Runner]:
    """Load the models, and yield the runner of a command's jobs."""
    from serving.video.reporting import reporter
    from serving.video.running import Runner, cancelled_by_signals, video_landmarker
    from serving.video.tracking import Tracking

    landmarker = video_landmarker(align)
    with back_end.toonifier() as toonifier, cancelled_by_signals() as cancel, reporter(progress) as reports:
        # A frame that is a face is one, however small it is.
        tracking = Tracking(smallest=0.0 if align == "none" else smallest)
        yield Runner(toonifier, landmarker, style, reports, cancel, stats, tracking, back_end.leave_far)
