"""``toonify image``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from engines.contract.atomic import check_output
from serving.client.defaults import DEFAULT_TIMEOUT
from serving.code_files import is_code_file, read_codes
from serving.connection import connection_from_options
from serving.face_finder import face_finder
from serving.faces.images import check_suffix, read_picture, write_picture
from serving.faces.left_alone import SMALLEST_TOONIFIED, CountedFaces, FaceCounts
from serving.faces.photograph import (
    Pasting,
    small_faces,
    toonified_crop,
    toonified_face,
    toonified_photograph,
)
from serving.faces.picture_files import PICTURES
from serving.job_runs import run_jobs
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
    Mask,
    Model,
    Psi,
    Rows,
    RSwap,
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
from serving.reporting import reporter

MAX_STEPS = 100
"""Largest number of pictures in a sheet; of 1024x1024 they have 300 MB."""

FACES = replace(PICTURES, found=PICTURES.found | {".npz"})
"""What a folder is searched for; an .npy may hold anything and is taken only by its name."""


def image(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="PNG, JPEG, WebP, AVIF pictures, codes (.npz, .npy), or folders."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file; a folder for several pictures.")],
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
    attribute: AttributeOptions = None,
    keep: KeepOptions = None,
    exact: Exact = False,
    rows: Rows = "all",
    seed: Seed = None,
    strength: Strength = 1.0,
    steps: Annotated[
        int | None,
        typer.Option(
            min=2, max=MAX_STEPS, help="Make a sheet of the face alone at so many strengths of the edit, from none on."
        ),
    ] = None,
    psi: Psi = None,
    r_swap: RSwap = None,
    alpha: Alpha = None,
    transfer: Transfer = None,
    align: Align = "auto",
    paste: Annotated[bool, typer.Option(help="Put the face back into its photograph.")] = True,
    mask: Mask = "ellipse",
    colour_match: ColourMatch = 0.0,
    faces: Annotated[Literal["largest", "all"], typer.Option(help="The faces of a photograph to toonify.")] = "largest",
    smallest_face: SmallestFace = SMALLEST_TOONIFIED,
    far_codes: FarCodesOption = "pull",
    jpeg: Annotated[bool, typer.Option("--jpeg", help="Send and receive JPEG, for slow networks.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, help="Pictures worked on at the same time.")] = 1,
    shard: ShardOption = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    progress: ShowProgress = "auto",
    force: Force = False,
) -> None:
    """Toonify pictures of faces: whole photographs, or aligned crops, which are square; or codes in files.

    A file of several codes gives a sheet. Among several inputs, those already done are skipped, and a failure does not
    stop the others.
    """
    from serving.back_end import BackEnd  # imported late: ``--help`` needs no back end
    from serving.code_pictures import picture_of_codes
    from serving.interpolation import sheets_of_steps

    if faces == "all" and (align == "none" or not paste):
        raise typer.BadParameter("all needs whole photographs, which --align and --paste allow", param_hint="--faces")
    if steps and (faces == "all" or not attribute):
        raise typer.BadParameter(
            "a sheet shows the edit of one face; give --attribute and one face", param_hint="--steps"
        )
    share = share_from_option(shard)
    pictures = files_in(inputs, FACES)
    several = len(pictures) > 1 or inputs[0].is_dir()
    if not (several or output.is_dir()):
        check_suffix(output)
    jobs = jobs_of(pictures, output, FACES, in_folder=several or output.is_dir(), in_place=force)
    if not several:
        check_output(jobs[0].target, force=force)
    edit = edit_from_options(attribute, keep, rows, exact=exact, seed=seed, strength=strength)
    find, pasting = face_finder(align), Pasting(mask, colour_match)
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    back_end = BackEnd(
        server,
        model,
        encoder,
        generator or (),
        isf,
        timeout,
        jpeg=jpeg,
        classifier=classifier,
        far_codes=far_codes,
    )
    psi = 1.0 if psi is None else psi
    style = back_end.style(
        edit, seed=seed or 0, strength=strength, psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer
    )

    def run(source: Path, target: Path) -> FaceCounts | None:
        if is_code_file(source):
            write_picture(target, picture_of_codes(toonifier, read_codes(source), style, steps), force=force)
            return None
        photo, name = read_picture(source), str(source)
        found = find(photo, source.name)
        counted, every, small = CountedFaces(toonify, leave=back_end.leave_far), faces == "all", 0
        if found is None:
            picture = toonified_crop(photo, counted, name=name)
        elif paste and not steps:
            picture = toonified_photograph(
                photo, found, counted, every_face=every, pasting=pasting, smallest=smallest_face, name=name
            )
            small = small_faces(found, smallest_face) if every else 0
        else:
            picture = toonified_face(photo, found, counted, smallest=smallest_face, name=name)
        write_picture(target, picture, force=force)
        return FaceCounts(small, counted.far)

    mine = share.of(jobs)
    with back_end.toonifier() as toonifier, reporter(progress, len(mine)) as reports:
        toonify = (
            partial(sheets_of_steps, toonifier, style=style, steps=steps)
            if steps
            else partial(toonifier.toonify_with_distance, style=style)
        )
        patience = Patience()
        succeeded = run_jobs(
            mine,
            run,
            reports,
            skip_existing=several and not force,
            in_flight=in_flight,
            patience=patience if several else None,
        )
    if not succeeded:
        raise typer.Exit(patience.exit_code)
