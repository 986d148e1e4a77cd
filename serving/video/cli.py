"""The command ``toonify video``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.client.defaults import DEFAULT_TIMEOUT
from serving.connection import connection_from_options
from serving.faces.left_alone import SMALLEST_TOONIFIED
from serving.jobs import files_in, jobs_of
from serving.options import (
    Align,
    Alpha,
    AttributeOptions,
    Classifier,
    ColourMatch,
    Encoder,
    Exact,
    FarCodesOption,
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
    Seed,
    ShardOption,
    ShowProgress,
    SmallestFace,
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
from serving.patience import Patience
from serving.video.command import OutputStyle, Quality, Size, Smooth, Stats, open_runner
from serving.video.option_values import part_from_option, side_from_option, swaps_from_option
from serving.video.targets import DEFAULT_QUALITY, FORMATS, VIDEOS

if TYPE_CHECKING:
    from serving.video.frames import FrameSink
    from serving.video.pipeline import VideoReport

SweptRSwap = Annotated[
    str | None,
    typer.Option(
        "--r-swap",
        metavar="R|FIRST:LAST",
        help="With a live model: layers up to this resolution come from the transferred model; "
        "8:64 moves from 8 to 64 over the clip.",
    ),
]


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
    smallest_face: SmallestFace = SMALLEST_TOONIFIED,
    far_codes: FarCodesOption = "pull",
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
    back_end = BackEnd(
        server, model, encoder, generator or (), isf, timeout, light_encoder, classifier=classifier, far_codes=far_codes
    )
    edit = edit_from_options(attribute, keep, rows, exact=exact, seed=seed, strength=strength)
    psi = 1.0 if psi is None else psi
    style = back_end.style(
        edit, seed=seed or 0, strength=strength, psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer
    )
    sweep = Sweep(*ends, back_end.blend_choices()) if ends else None

    with open_runner(back_end, align, style, progress, stats, smallest=smallest_face) as runner:

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
        patience = Patience()
        succeeded = runner.run_all(
            share.of(jobs), run, skip_existing=several and not force, patience=patience if several else None
        )
    if not succeeded:
        raise typer.Exit(runner.cancel.exit_code if runner.cancel.is_set() else patience.exit_code)


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
