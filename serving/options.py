"""Options that several commands of ``toonify`` share, and the parsing of their values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from engines.contract.errors import AlignmentError
from serving.client.defaults import DEFAULT_URL
from serving.controls import Edit, FarCodes
from serving.faces.automatic import automatic_landmarker, mesh_landmarker
from serving.faces.haar import HaarLandmarker
from serving.faces.landmark_files import FileLandmarker
from serving.faces.landmarks import Landmarker
from serving.faces.model_files import FOLDER_VARIABLE, MESH, YUNET, ModelFile, present
from serving.faces.models_cli import with_progress
from serving.faces.outline import MaskKind
from serving.faces.yunet import YuNetLandmarker
from serving.reporting import ProgressStyle
from serving.shards import Shard

Url = Annotated[
    list[str] | None,
    typer.Option(
        help="HOST:PORT or https://HOST:PORT of the server's gRPC endpoint, also several times for several servers; "
        f"default {DEFAULT_URL}, or the environment variable TOONIFY_URL."
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(help="Certificates of the authorities to trust, in PEM, for TLS to the server (or TOONIFY_TLS_CA)."),
]
TlsCert = Annotated[
    Path | None, typer.Option(help="This client's certificate, for servers that ask for one (or TOONIFY_TLS_CERT).")
]
TlsKey = Annotated[Path | None, typer.Option(help="The private key of --tls-cert (or TOONIFY_TLS_KEY).")]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VALUE|NAME=@FILE",
        help="Header of each request. Keys come from a file or, one NAME=VALUE a line, from TOONIFY_HEADERS: every "
        "user of this machine can read a command line.",
    ),
]
Model = Annotated[str | None, typer.Option(help="Name of a served model, or of one of the generators.")]
Encoder = Annotated[Path | None, typer.Option(help="Model directory of an encoder, to work without a server.")]
Classifier = Annotated[
    Path | None, typer.Option(help="Model directory of the classifier of the head's attributes, with --encoder.")
]
Isf = Annotated[Path | None, typer.Option(help="Model directory of an ISF head, with --encoder.")]
Generators = Annotated[list[Path] | None, typer.Option(help="Model directory of a generator, with --encoder.")]
LightEncoder = Annotated[
    Path | None, typer.Option(help="Output of toonify-export encoder --light, with --encoder; encodes most frames.")
]
Timeout = Annotated[float, typer.Option(help="Seconds for each request to the server.")]
AttributeOptions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Target of the edit, 0 or 1, or within a direction's range; others stay as they are.",
    ),
]
KeepOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="NAME=VALUE,...",
        help="Attributes that the faces have, 0 or 1, and that stay; needed where no classifier reads them.",
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="Attributes that are not named become 0.")]
Rows = Annotated[
    Literal["all", "preset"], typer.Option(help="Rows of W+ to edit; preset: the rows published for each attribute.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed that chooses among the possible edits; default 0.")]
Strength = Annotated[float, typer.Option(help="How far faces follow the edit, from 0 (not at all) to 1 (fully).")]
Psi = Annotated[float | None, typer.Option(help="Truncation: 1 (none, the default) to 0 (the average face).")]
RSwap = Annotated[
    int | None,
    typer.Option(
        help="With a live model: layers up to this resolution, a power of two, come from the transferred model."
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="With a live model: the transferred model's share in those layers; default 1."),
]
Transfer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="With a live model of several transferred models: the one for --r-swap; default the first."
    ),
]
Mask = Annotated[
    MaskKind, typer.Option(help="What is put back of a picture: an ellipse, or the face's outline with its hair.")
]
ColourMatch = Annotated[
    float, typer.Option(min=0, max=1, help="How far the colours put back follow those of the photograph below.")
]
FarCodesOption = Annotated[
    FarCodes,
    typer.Option(
        "--far-codes",
        help="For faces unlike those that the encoder knows: pull their codes in, leave them alone, or keep the codes.",
    ),
]
SmallestFace = Annotated[
    float,
    typer.Option(
        "--smallest-face",
        min=0,
        metavar="PIXELS",
        help="Leave faces alone whose square (see toonify faces) has fewer pixels on a side.",
    ),
]
ShowProgress = Annotated[ProgressStyle, typer.Option(help="auto: a bar on a terminal; json: JSON Lines on stdout.")]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only the I-th of N parts of the inputs, each on a machine of its own. I may be the name of an "
        "environment variable that counts from 0: JOB_COMPLETION_INDEX/N.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]


def _canonical_align(align: str) -> str:
    return "none" if align == "prealigned" else align


LANDMARKERS = "auto, auto:FOLDER, haar, yunet, yunet:PATH, mediapipe:PATH or file:PATH"

Align = Annotated[
    str,
    typer.Option(
        metavar="auto|none|haar|yunet|mediapipe:PATH|file:PATH",
        callback=_canonical_align,
        help="How to find faces. auto: YuNet finds them and a mesh is fitted to each; the two models are downloaded "
        "once (see toonify models). none (or prealigned): every picture or frame is an aligned crop. "
        "file: a video's frames are named by their number, starting at 0.",
    ),
]


def edit_from_options(
    attribute: Sequence[str] | None,
    keep: Sequence[str] | None,
    rows: str,
    *,
    exact: bool,
    seed: int | None,
    strength: float,
) -> Edit:
    """Parse ``--attribute NAME=VALUE ...`` and ``--keep NAME=VALUE,...`` into an edit.

    Raises:
        BadParameter: an option has another form, contradicts another one, or belongs to ``--attribute``, which is not
            given.
    """
    changed = {"--rows": rows == "preset", "--seed": seed is not None, "--strength": strength != 1}
    for option, given in {"--keep": keep, "--exact": exact, **changed}.items():
        if given and not attribute:
            raise typer.BadParameter("it belongs to an edit; give --attribute", param_hint=option)
    if keep and exact:
        raise typer.BadParameter("with --exact no other attribute stays; leave one out", param_hint="--keep")
    kept = [part for option in keep or () for part in option.split(",")]
    return Edit(_numbers(attribute or (), "--attribute"), _numbers(kept, "--keep"), exact, rows)


def _numbers(options: Sequence[str], hint: str) -> dict[str, float]:
    numbers = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{option!r} is not NAME=NUMBER", param_hint=hint) from None
    return numbers


def share_from_option(shard: str | None) -> Shard:
    """Parse ``--shard I/N``; without the option the share is the whole.

    Raises:
        BadParameter: the option has another form, or names an environment variable without a usable value.
    """
    try:
        return Shard() if shard is None else Shard.parsed(shard)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from None


def landmarker_from_option(option: str) -> Landmarker:
    """Make the landmarker of ``auto``, ``haar``, ``yunet``, ``mediapipe:PATH`` or ``file:PATH``.

    Raises:
        AlignmentError: ``option`` has another form, or the landmarker cannot be made.
    """
    kind, _, path = option.partition(":")
    if option == "auto":
        return automatic_landmarker(_obtained, partial(typer.echo, err=True))
    if option == "haar":
        return HaarLandmarker()
    if option == "yunet":
        return YuNetLandmarker(_obtained(YUNET))
    if kind == "auto" and path:
        return mesh_landmarker(present(YUNET, Path(path)), present(MESH, Path(path)))
    if kind == "yunet" and path:
        return YuNetLandmarker(Path(path))
    if kind == "mediapipe" and path:
        return mesh_landmarker(_obtained(YUNET), Path(path))
    if kind == "file" and path:
        return FileLandmarker(Path(path))
    # Where crops are allowed, "none" has been answered before.
    expected = LANDMARKERS if option == "none" else f"none, {LANDMARKERS}"
    raise AlignmentError("landmarks", got=repr(option), expected=expected, remedy="choose one of them")


def _obtained(model: ModelFile) -> Path:
    """Return a model file's path; it is downloaded unless the user keeps the files in a folder of theirs."""
    return present(model) if FOLDER_VARIABLE in os.environ else with_progress(model)
