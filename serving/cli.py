"""``toonify``: start a server, toonify pictures, videos and cameras, and report what this machine lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engines.contract.atomic import check_output
from engines.contract.errors import RequestError
from engines.contract.tensors import FACE_SIZE
from serving.client import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL
from serving.command_line import common_options, run, stages
from serving.doctor import findings
from serving.faces.alignment import Photo
from serving.faces.cli import faces
from serving.faces.images import check_suffix, read_picture, write_picture
from serving.faces.landmarks import Face
from serving.faces.models_cli import models
from serving.faces.photograph import (
    Pasting,
    Toonify,
    is_aligned,
    toonified_crop,
    toonified_face,
    toonified_photograph,
)
from serving.options import (
    Align,
    AttributeOptions,
    Classifier,
    ColourMatch,
    Encoder,
    Exact,
    Force,
    Generators,
    Isf,
    KeepOptions,
    Mask,
    Model,
    Psi,
    Rows,
    Seed,
    Timeout,
    Url,
    edit_from_options,
    landmarker_from_option,
)
from serving.studio.cli import studio
from serving.video.cli import cam, video

app = typer.Typer(
    help="Serve models that toonify faces, and use them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(common_options)

app.command()(video)
app.command()(cam)
app.command()(studio)
app.command()(faces)
app.add_typer(models, name="models")


@app.command()
def serve(
    repository: Annotated[Path, typer.Option(help="Output of toonify-export repository.")] = Path(
        "build/model_repository"
    ),
    address: Annotated[str, typer.Option(help="Address to listen on; other machines reach any but loopback.")] = (
        "127.0.0.1"
    ),
    grpc_port: Annotated[int, typer.Option(help="For pictures; 0 takes any free port.")] = 8001,
    http: Annotated[
        bool, typer.Option("--http", help="Open HTTP too; then any web page in a local browser can send pictures.")
    ] = False,
    http_port: Annotated[int, typer.Option(help="With --http.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="For Prometheus.")] = 8002,
    allow_shared_memory: Annotated[
        bool,
        typer.Option(
            "--allow-shared-memory",
            help="Let clients pass pictures through /dev/shm; any of them can then read, overwrite and crash what other"
            " programs of this user keep there.",
        ),
    ] = False,
    log: Annotated[Path | None, typer.Option(help="The server's log; by default REPOSITORY.log.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which compiled models are kept for the next start; large.", envvar="TOONIFY_CACHE"
        ),
    ] = None,
    trusted_key: Annotated[
        Path | None,
        typer.Option(help="Public key: refuse a repository that its owner has not signed (toonify-export sign)."),
    ] = None,
) -> None:
    """Serve a model repository with Triton Inference Server until Ctrl-C or SIGTERM."""
    # Imported late: the other commands need no server.
    from serving.signing import check_signature
    from serving.triton.contents import check_contents
    from serving.triton.supervision import serve as serve_repository

    with stages() as stage:

        def check() -> None:
            if trusted_key:
                stage(f"checking the signature of {repository}")
                check_signature(repository, trusted_key)
            check_contents(repository)

        serve_repository(
            repository,
            check=check,
            address=address,
            grpc_port=grpc_port,
            http_port=http_port if http else None,
            metrics_port=metrics_port,
            allow_shared_memory=allow_shared_memory,
            log=log,
            cache=cache,
            progress=stage,
        )


@app.command()
def image(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="PNG, JPEG or WebP pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file; a directory for several pictures.")],
    url: Url = None,
    model: Model = None,
    encoder: Encoder = None,
    isf: Isf = None,
    classifier: Classifier = None,
    generator: Generators = None,
    attribute: AttributeOptions = None,
    keep: KeepOptions = None,
    exact: Exact = False,
    rows: Rows = "all",
    seed: Seed = None,
    psi: Psi = None,
    align: Align = "auto",
    paste: Annotated[bool, typer.Option(help="Put the face back into its photograph.")] = True,
    mask: Mask = "ellipse",
    colour_match: ColourMatch = 0.0,
    faces: Annotated[Literal["largest", "all"], typer.Option(help="The faces of a photograph to toonify.")] = "largest",
    jpeg: Annotated[bool, typer.Option("--jpeg", help="Send and receive JPEG, for slow networks.")] = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    force: Force = False,
) -> None:
    """Toonify pictures of faces: whole photographs, or aligned crops, which are square."""
    from serving.back_end import BackEnd  # imported late: ``toonify serve`` and ``--help`` need no back end

    if faces == "all" and (align == "none" or not paste):
        raise typer.BadParameter("all needs whole photographs, which --align and --paste allow", param_hint="--faces")
    targets = _targets(inputs, output, force=force)
    edit = edit_from_options(attribute, keep, rows, exact=exact)
    find = _finder(align)
    back_end = BackEnd(url, model, encoder, generator or (), isf, timeout, jpeg=jpeg, classifier=classifier)
    style = back_end.style(edit, seed=seed or 0, strength=1.0, psi=1.0 if psi is None else psi)
    with back_end.toonifier() as toonifier:
        toonify: Toonify = partial(toonifier.toonify, style=style)
        terminal = Console(stderr=True)
        jobs = [*zip(inputs, targets, strict=True)]
        for source, target in track(jobs, "toonifying", console=terminal, disable=not terminal.is_terminal):
            photo = read_picture(source)
            found = find(photo, source.name)
            if found is None:
                picture = toonified_crop(photo, toonify, name=str(source))
            elif paste:
                picture = toonified_photograph(
                    photo,
                    found,
                    toonify,
                    every_face=faces == "all",
                    pasting=Pasting(mask, colour_match),
                    name=source.name,
                )
            else:
                picture = toonified_face(photo, found, toonify, name=source.name)
            write_picture(target, picture, force=force)
            typer.echo(target)


@app.command()
def doctor(
    url: Annotated[str, typer.Option(help="HOST:PORT of the server's gRPC endpoint.")] = DEFAULT_URL,
    model: Annotated[str, typer.Option(help="Name of a served model.")] = DEFAULT_MODEL,
    repository: Annotated[Path | None, typer.Option(help="A model repository; its files are checked.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Report what this machine has and what it lacks; exit with 1 if it cannot make a picture."""
    report = findings(url, model, repository)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in report], indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("what", "found", "what to do"):
            table.add_column(heading, overflow="fold")  # truncated commands could not be copied
        for finding in report:
            table.add_row(finding.subject, finding.found, finding.remedy)
        Console(highlight=False, markup=False).print(table)
    if any(finding.missing and finding.essential for finding in report):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)


def _finder(align: str) -> Callable[[Photo, str], Sequence[Face] | None]:
    """Return what finds the faces of a picture by its name; None stands for an aligned crop.

    With "auto", a picture of the encoder's own size is a crop without a search, so that crops need no landmarker; any
    other square picture is searched.
    """
    if align not in ("auto", "none"):
        return landmarker_from_option(align)
    landmarker = cache(partial(landmarker_from_option, align))

    def find(photo: Photo, name: str) -> Sequence[Face] | None:
        if align == "none" or photo.shape[:2] == (FACE_SIZE, FACE_SIZE):
            return None
        faces = landmarker()(photo, name)
        return None if is_aligned(photo, faces) else faces

    return find


def _targets(inputs: Sequence[Path], output: Path, *, force: bool) -> list[Path]:
    """Return the output path of each picture, and refuse before the work those that cannot be written."""
    in_directory = len(inputs) > 1 or output.is_dir()
    targets = [output / source.name if in_directory else output for source in inputs]
    for target in targets:
        check_suffix(target)
        check_output(target, force=force)
        if targets.count(target) > 1:
            raise RequestError(
                str(target), got="two pictures of that name", expected="one", remedy="run the command once for each"
            )
    return targets
