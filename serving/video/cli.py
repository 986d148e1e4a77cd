"""``toonify video`` and ``toonify cam``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.client.defaults import DEFAULT_TIMEOUT
from serving.connection import connection_from_options
from serving.jobs import Job, files_in, jobs_of
from serving.options import (
    Align,
    Alpha,
    AttributeOptions,
    Classifier,
    ColourMatch,
    Encoder,
    Exact,
    Force,
    Generators,
    Headers,
    Isf,
    KeepOptions,
    LightEncoder,
    Mask,
    Model,
    Psi,
    Rows,
    RSwap,
    Seed,
    ShardOption,
    ShowProgress,
    Strength,
    Timeout,
    TlsCa,
    TlsCert,
    TlsKey,
    Transfer,
    Url,
    edit_from_options,
    share_from_option,
)
from serving.video.option_values import part_from_option, side_from_option, swaps_from_option
from serving.video.targets import DEFAULT_QUALITY, FORMATS, VIDEOS

if TYPE_CHECKING:
    from serving.back_end import BackEnd
    from serving.controls import Style
    from serving.reporting import ProgressStyle
    from serving.video.frames import FrameSink
    from serving.video.pipeline import VideoProgress, VideoReport
    from serving.video.running import Runner

OutputStyle = Annotated[
    Literal["paste", "crop", "side-by-side"],
    typer.Option(help="The whole frame, the face alone, or the original beside the whole frame."),
]
SweptRSwap = Annotated[
    str | None,
    typer.Option(
        "--r-swap",
        metavar="R|FIRST:LAST",
        help="With a live model: layers up to this resolution come from the transferred model; "
        "8:64 moves from 8 to 64 over the clip.",
    ),
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


def video(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Video files, or folders of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Output file; a folder for several videos, or for --png.")
    ],
    url: Url = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    header: Headers = None,
    model: Model = None,
    encoder: Encoder = None,
    isf: Isf = None,
    classifier: Classifier = None,
    generator: Generators = None,
    light_encoder: LightEncoder = None,
    align: Align = "auto",
    attribute: AttributeOptions = None,
    keep: KeepOptions = None,
    exact: Exact = False,
    rows: Rows = "all",
    seed: Seed = None,
    strength: Strength = 1.0,
    psi: Psi = None,
    r_swap_or_ends: SweptRSwap = None,
    alpha: Alpha = None,
    transfer: Transfer = None,
    output_style: OutputStyle = "paste",
    mask: Mask = "ellipse",
    colour_match: ColourMatch = 0.0,
    size: Size = "auto",
    png: Annotated[
        bool, typer.Option("--png", help="Write frames as 000000.png, 000001.png, ... to a folder, without sound.")
    ] = False,
    trim: Annotated[
        str | None, typer.Option(metavar="START:END", help="Toonify this part, in seconds; also 2: or :5.")
    ] = None,
    smoothing: Smooth = "file",
    quality: Quality = DEFAULT_QUALITY,
    audio: Annotated[
        Literal["copy", "aac", "none"], typer.Option(help="copy: unchanged if players support it, else AAC.")
    ] = "copy",
    batch: Annotated[int, typer.Option(min=1, help="Frames in a batch.")] = 4,
    in_flight: Annotated[int, typer.Option(min=1, help="Batches toonified at the same time.")] = 2,
    shard: ShardOption = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    progress: ShowProgress = "auto",
    stats: Stats = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Make only a picture of a few frames, before and after.")
    ] = False,
    force: Force = False,
) -> None:
    """Toonify videos. Among several, those already done are skipped, and a failure does not stop the others."""
    from serving.back_end import BackEnd
    from serving.video.composing import Paste, composed_size, crop_size_for
    from serving.video.pipeline import toonify_video
    from serving.video.png_sequence import PngSequence
    from serving.video.preview import ContactSheet, SampledFrames
    from serving.video.reading import VideoReader
    from serving.video.running import before_and_after, composer_of
    from serving.video.sweeps import Sweep
    from serving.video.writing import VideoWriter

    side, paste = side_from_option(size, output_style), Paste(colour_match=colour_match, mask=mask)
    share = share_from_option(shard)
    videos = files_in(inputs, VIDEOS)
    several = len(videos) > 1 or inputs[0].is_dir()
    _refuse_numbered_landmarks(align, several=several, preview=preview)
    _refuse_a_file_of_frames(output, png=png, preview=preview)
    in_folder = several or (not png and (output.is_dir() or not output.suffix))
    jobs = jobs_of(videos, output, VIDEOS, in_folder=in_folder, suffix=".png" if preview else "" if png else None)
    start, end = part_from_option(trim)
    r_swap, ends = swaps_from_option(r_swap_or_ends)
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    back_end = BackEnd(server, model, encoder, generator or (), isf, timeout, light_encoder, classifier=classifier)
    edit, psi = edit_from_options(attribute, keep, rows, exact=exact), 1.0 if psi is None else psi
    style = back_end.style(
        edit, seed=seed or 0, strength=strength, psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer
    )
    sweep = Sweep(*ends, back_end.blend_choices()) if ends else None

    with _runner(back_end, align, style, progress, stats) as runner:

        def crop_size(source: Path) -> int:
            with VideoReader(source, start=start, end=end) as reader:
                return crop_size_for(reader, runner.landmarker, back_end.resolution())

        def toonified(source: Path, target: Path) -> VideoReport:
            composer = composer_of(output_style, lambda: side or crop_size(source), paste)
            with ExitStack() as stack:
                reader = stack.enter_context(VideoReader(source, start=start, end=end))
                swept = sweep.style(style, 0.0, reader.duration) if sweep else None
                session = stack.enter_context(runner.session(composer, smoothing, swept))
                sink: FrameSink
                if png:
                    sink = PngSequence(target, force=force)
                else:
                    shown = composed_size(composer, reader.size)
                    sink = VideoWriter(target, reader, size=shown, audio=audio, quality=quality, force=force)
                return toonify_video(
                    reader,
                    sink,
                    session,
                    batch=batch,
                    in_flight=in_flight,
                    progress=runner.reporter.progress,
                    cancel=runner.cancel,
                )

        def previewed(source: Path, target: Path) -> VideoReport:
            frames = SampledFrames(source, start=start, end=end)
            swept = sweep.style(style, start or 0.0, frames.duration) if sweep else None
            with runner.session(before_and_after(output_style, frames.size, paste), "off", swept) as session:
                sheet = ContactSheet(target, force)
                return toonify_video(frames, sheet, session, progress=runner.reporter.progress, cancel=runner.cancel)

        run = previewed if preview else toonified
        succeeded = runner.run_all(share.of(jobs), run, skip_existing=several and not force)
    if not succeeded:
        raise typer.Exit(runner.cancel.exit_code if runner.cancel.is_set() else 1)


def cam(
    output: Annotated[Path, typer.Option("--output", "-o", help="Video file to write.")],
    camera: Annotated[int, typer.Option(min=0, help="Number of the camera; 0 is the first.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Length of the recording; without it, until Ctrl-C.")
    ] = None,
    url: Url = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    header: Headers = None,
    model: Model = None,
    encoder: Encoder = None,
    isf: Isf = None,
    classifier: Classifier = None,
    generator: Generators = None,
    light_encoder: LightEncoder = None,
    align: Align = "auto",
    attribute: AttributeOptions = None,
    keep: KeepOptions = None,
    exact: Exact = False,
    rows: Rows = "all",
    seed: Seed = None,
    strength: Strength = 1.0,
    psi: Psi = None,
    r_swap: RSwap = None,
    alpha: Alpha = None,
    transfer: Transfer = None,
    output_style: OutputStyle = "paste",
    mask: Mask = "ellipse",
    colour_match: ColourMatch = 0.0,
    size: Size = "auto",
    smoothing: Smooth = "live",
    quality: Quality = DEFAULT_QUALITY,
    timeout: Timeout = DEFAULT_TIMEOUT,
    progress: ShowProgress = "auto",
    stats: Stats = False,
    force: Force = False,
) -> None:
    """Record a toonified camera until Ctrl-C; frames that arrive too fast are dropped."""
    from serving.back_end import BackEnd
    from serving.video.camera import CameraReader
    from serving.video.composing import Paste, composed_size, crop_size_for
    from serving.video.pipeline import toonify_video
    from serving.video.running import composer_of
    from serving.video.writing import VideoWriter

    side = side_from_option(size, output_style)
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    back_end = BackEnd(server, model, encoder, generator or (), isf, timeout, light_encoder, classifier=classifier)
    edit, psi = edit_from_options(attribute, keep, rows, exact=exact), 1.0 if psi is None else psi
    style = back_end.style(
        edit, seed=seed or 0, strength=strength, psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer
    )
    with _runner(back_end, align, style, progress, stats) as runner:

        def reported(state: VideoProgress) -> None:
            runner.reporter.progress(state)
            if seconds is not None and state.seconds >= seconds:
                runner.cancel.set()

        def recorded(_: Path, target: Path) -> VideoReport:
            with CameraReader(camera) as reader:
                composer = composer_of(
                    output_style,
                    lambda: side or crop_size_for(reader, runner.landmarker, back_end.resolution()),
                    Paste(colour_match=colour_match, mask=mask),
                )
                shown = composed_size(composer, reader.size)
                sink = VideoWriter(target, reader, size=shown, quality=quality, force=force)
                with runner.session(composer, smoothing) as session:
                    return toonify_video(reader, sink, session, live=True, progress=reported, cancel=runner.cancel)

        succeeded = runner.run_all([Job(Path(), output)], recorded, skip_existing=False)
    if not succeeded:
        raise typer.Exit(1)


@contextmanager
def _runner(back_end: BackEnd, align: str, style: Style, progress: ProgressStyle, stats: bool) -> Iterator[Runner]:
    from serving.video.reporting import reporter
    from serving.video.running import Runner, cancelled_by_signals, video_landmarker

    landmarker = video_landmarker(align)
    with back_end.toonifier() as toonifier, cancelled_by_signals() as cancel, reporter(progress) as reports:
        yield Runner(toonifier, landmarker, style, reports, cancel, stats)


def _refuse_numbered_landmarks(align: str, *, several: bool, preview: bool) -> None:
    if align.startswith("file:") and preview:
        raise typer.BadParameter("a preview seeks and cannot number the frames; leave one out", param_hint="--preview")
    if align.startswith("file:") and several:
        raise typer.BadParameter("landmarks by frame number belong to one video; give one video", param_hint="--align")


def _refuse_a_file_of_frames(output: Path, *, png: bool, preview: bool) -> None:
    if png and preview:
        raise typer.BadParameter("a preview is one picture; leave --png or --preview out", param_hint="--png")
    if png and output.suffix.lower() in {*FORMATS, ".png"}:
        raise typer.BadParameter(f"frames are written to a folder, and {output} names a file", param_hint="--png")
