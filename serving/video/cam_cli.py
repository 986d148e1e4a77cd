"""The command ``toonify cam``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.client.defaults import DEFAULT_TIMEOUT
from serving.connection import connection_from_options
from serving.faces.left_alone import SMALLEST_TOONIFIED
from serving.jobs import Job
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
    RSwap,
    Seed,
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
)
from serving.video.command import OutputStyle, Quality, Size, Smooth, Stats, open_runner
from serving.video.option_values import side_from_option
from serving.video.targets import DEFAULT_QUALITY

if TYPE_CHECKING:
    from serving.video.pipeline import VideoProgress, VideoReport


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
    smallest_face: SmallestFace = SMALLEST_TOONIFIED,
    far_codes: FarCodesOption = "pull",
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
    back_end = BackEnd(
        server, model, encoder, generator or (), isf, timeout, light_encoder, classifier=classifier, far_codes=far_codes
    )
    edit = edit_from_options(attribute, keep, rows, exact=exact, seed=seed, strength=strength)
    psi = 1.0 if psi is None else psi
    style = back_end.style(
        edit, seed=seed or 0, strength=strength, psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer
    )
    with open_runner(back_end, align, style, progress, stats, smallest=smallest_face) as runner:

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
