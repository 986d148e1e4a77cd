"""``toonify``: start a server, ask it for pictures, and find out what a machine lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engines.contract.arrays import Pictures
from engines.contract.atomic import check_output
from engines.contract.errors import RequestError
from serving.client import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL, ToonifyClient
from serving.command_line import run, stages
from serving.controls import row_strength_for
from serving.doctor import findings
from serving.faces.images import check_suffix, picture_from_bytes, read_picture, write_picture
from serving.faces.jpeg import jpeg_from_picture
from serving.faces.photograph import Toonify, toonified_crop, toonified_face, toonified_photograph
from serving.options import (
    Align,
    AttributeOptions,
    Force,
    Model,
    Psi,
    Rows,
    Seed,
    Url,
    attributes_from_options,
    landmarker_from_option,
)
from serving.studio.cli import studio
from serving.video.cli import cam, video

app = typer.Typer(
    help="Serve toonified faces, and ask for them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(video)
app.command()(cam)
app.command()(studio)


@app.command()
def serve(
    repository: Annotated[Path, typer.Option(help="Written by toonify-export repository.")] = Path(
        "build/model_repository"
    ),
    address: Annotated[str, typer.Option(help="Where to listen; other machines reach what is not loopback.")] = (
        "127.0.0.1"
    ),
    grpc_port: Annotated[int, typer.Option(help="For pictures; 0 takes any free port.")] = 8001,
    http_port: Annotated[int, typer.Option(help="For health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="For Prometheus.")] = 8002,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of compiled models for the next start; large.", envvar="TOONIFY_CACHE")
    ] = None,
) -> None:
    """Serve a model repository with Triton Inference Server until Ctrl-C or SIGTERM."""
    from serving.triton.server import serve as serve_repository  # a client needs no server

    with stages() as stage:
        serve_repository(
            repository,
            address=address,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            cache=cache,
            progress=stage,
        )


@app.command()
def image(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="PNG, JPEG or WebP pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file; a directory for several pictures.")],
    url: Url = DEFAULT_URL,
    model: Model = DEFAULT_MODEL,
    attribute: AttributeOptions = None,
    rows: Rows = "all",
    seed: Seed = None,
    psi: Psi = None,
    align: Align = "none",
    paste: Annotated[bool, typer.Option(help="With --align: put the face back into its photograph.")] = True,
    faces: Annotated[Literal["largest", "all"], typer.Option(help="With --align: which faces.")] = "largest",
    jpeg: Annotated[bool, typer.Option("--jpeg", help="JPEG on the wire, for slow networks.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for each picture.")] = DEFAULT_TIMEOUT,
    force: Force = False,
) -> None:
    """Toonify pictures of faces: aligned crops, or with --align whole photographs."""
    if faces == "all" and (align == "none" or not paste):
        raise typer.BadParameter("all faces go back into a photograph; give --align and --paste", param_hint="--faces")
    targets = _targets(inputs, output, force=force)
    attributes = attributes_from_options(attribute or [], rows)
    landmarker = None if align == "none" else landmarker_from_option(align)
    with ToonifyClient(url, timeout=timeout) as client:
        controls: dict[str, Any] = {"attributes": attributes or None, "seed": seed, "psi": psi}
        if rows == "preset":
            controls["row_strength"] = row_strength_for(attributes, client.describe(model).rows)
        toonify: Toonify = partial(_through_jpeg if jpeg else _through_bytes, client, model, controls)
        terminal = Console(stderr=True)
        jobs = [*zip(inputs, targets, strict=True)]
        for source, target in track(jobs, "toonifying", console=terminal, disable=not terminal.is_terminal):
            photo = read_picture(source)
            if landmarker is None:
                picture = toonified_crop(photo, toonify, name=str(source))
            elif paste:
                picture = toonified_photograph(photo, landmarker, toonify, every_face=faces == "all", name=source.name)
            else:
                picture = toonified_face(photo, landmarker, toonify, name=source.name)
            write_picture(target, picture, force=force)
            typer.echo(target)


@app.command()
def doctor(url: Url = DEFAULT_URL, model: Model = DEFAULT_MODEL) -> None:
    """Say what this machine has and what it lacks; exit with 1 where no picture can be made."""
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "found", "what to do"):
        table.add_column(heading, overflow="fold")  # a command must be there whole to be copied
    found = findings(url, model)
    for finding in found:
        table.add_row(finding.subject, finding.found, finding.remedy)
    Console(highlight=False, markup=False).print(table)
    if any(finding.missing and finding.essential for finding in found):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)


def _through_bytes(client: ToonifyClient, model: str, controls: dict[str, Any], faces: Pictures) -> Pictures:
    return client.toonify(faces, model=model, **controls)


def _through_jpeg(client: ToonifyClient, model: str, controls: dict[str, Any], faces: Pictures) -> Pictures:
    answers = client.toonify_jpeg([jpeg_from_picture(face) for face in faces], model=model, **controls)
    return np.stack([picture_from_bytes(answer, "the server's answer") for answer in answers])


def _targets(inputs: Sequence[Path], output: Path, *, force: bool) -> list[Path]:
    """Where each picture goes; refused now, not after the work, where it could not be written."""
    in_directory = len(inputs) > 1 or output.is_dir()
    targets = [output / source.name if in_directory else output for source in inputs]
    for target in targets:
        check_suffix(target)
        check_output(target, force=force)
        if targets.count(target) > 1:
            raise RequestError(
                str(target), got="two pictures of that name", expected="one", remedy="call the command for each"
            )
    return targets
