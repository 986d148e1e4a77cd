"""The command ``toonify-export project``: the code of a photograph's face, found by optimisation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engines.contract.atomic import check_output
from engines.contract.errors import ExportError
from engines.hashed_files import sha256_of
from export.checkpoints import read_encoder, read_generator
from export.options import AsJson, EncoderKind, Label, LpipsFiles, console, demo_files
from serving.code_files import write_codes
from serving.command_line import stages
from serving.face_finder import aligned_face
from serving.faces.images import read_picture
from serving.options import Align, Force

if TYPE_CHECKING:
    from export.projection.run import Projection


def project_command(
    photo: Annotated[Path, typer.Argument(help="A photograph, or an aligned crop, which is square.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file of the code, NAME.npz.")],
    generator: Annotated[
        Path | None, typer.Option(help="The generator's checkpoint; without it, the demo's generator and encoder.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="An encoder's checkpoint, whose code is the start; without it, the average.")
    ] = None,
    label: Label = None,
    kind: EncoderKind = None,
    start: Annotated[
        Literal["encoder", "average"] | None, typer.Option(help="The code at which the search begins.")
    ] = None,
    lpips: LpipsFiles = None,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Largest number of steps.")] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the noise with which a search from the average begins.")
    ] = 0,
    align: Align = "auto",
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a search that was interrupted.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find the code from which a generator draws a face best, by optimisation in W+.

    It starts from the encoder's code, and ends when it no longer improves. toonify image takes the file in place of the
    photograph. For example:

    toonify-export project photo.jpg -o face.npz --generator ffhq.pkl --encoder e4e_ffhq_encode.pt
    """
    progress = output.with_name(f"{output.name}.progress")
    _check(output, progress, resume=resume, force=force)
    face = aligned_face(read_picture(photo), align, photo.name)
    first = None
    if generator is None:
        demo = demo_files()
        generator = demo.base
        encoder, first = (encoder, None) if encoder else (demo.restyle, demo.encoder)
    _check_encoder(encoder, kind, start)
    with stages() as report:
        report(f"reading {generator.name}")
        weights = read_generator(generator, label)
        encoder_weights = read_encoder(encoder, kind, first=first, generator=weights) if encoder else None
        from export.measures.lpips import read_lpips
        from export.projection.run import Request, project

        distance = (read_lpips(*lpips), "".join(map(sha256_of, lpips))) if lpips else None
        request = Request(face, weights, encoder_weights, distance, start, steps, seed, device)
        projection = project(request, report, progress=progress, resume=resume)
    write_codes(output, projection.code, force=force)
    progress.unlink(missing_ok=True)
    _print(output, projection, as_json=as_json)


def _check(output: Path, progress: Path, *, resume: bool, force: bool) -> None:
    if output.suffix != ".npz":
        got = f"the suffix {output.suffix!r}"
        raise ExportError(str(output), got=got, expected=".npz", remedy="choose such a name")
    check_output(output, force=force)
    if os.path.lexists(progress) and not (resume or force):
        raise ExportError(
            str(progress),
            got="the file of an interrupted search",
            expected="none, where a new search begins",
            remedy="give --resume to continue it, or --force to start anew",
        )


def _check_encoder(encoder: Path | None, kind: str | None, start: str | None) -> None:
    if encoder is None and (kind or start == "encoder"):
        option = f"--kind {kind}" if kind else "--start encoder"
        raise ExportError(option, got="no encoder", expected="one", remedy=f"give --encoder, or leave {option} out")


def _print(output: Path, projection: Projection, *, as_json: bool) -> None:
    if as_json:
        fields = {"output": str(output), "psnr": projection.psnr, "start_psnr": projection.start_psnr}
        typer.echo(json.dumps({**fields, "steps": projection.steps}))
        return
    gain = f"{projection.psnr:.1f} dB after {projection.steps} steps, {projection.start_psnr:.1f} dB at the start"
    console.print(f"{output}: {gain}")
