"""Options that several commands of ``toonify`` share, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from engines.contract.errors import AlignmentError
from serving.controls import Edit
from serving.faces.haar import HaarLandmarker
from serving.faces.landmark_files import FileLandmarker
from serving.faces.landmarks import Landmarker
from serving.faces.mediapipe import MediaPipeLandmarker
from serving.faces.yunet import YuNetLandmarker

Url = Annotated[str | None, typer.Option(help="HOST:PORT of the server's gRPC endpoint; default 127.0.0.1:8001.")]
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
    typer.Option(metavar="NAME=VALUE", help="Target of the edit, 0 or 1; other attributes stay as they are."),
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
Psi = Annotated[float | None, typer.Option(help="Truncation: 1 (none, the default) to 0 (the average face).")]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]


def _canonical_align(align: str) -> str:
    return "none" if align == "prealigned" else align


Align = Annotated[
    str,
    typer.Option(
        metavar="none|haar|yunet:PATH|mediapipe:PATH|file:PATH",
        callback=_canonical_align,
        help="How to find faces. none (or prealigned): every picture or frame is an aligned crop. "
        "file: a video's frames are named by their number, starting at 0.",
    ),
]


def edit_from_options(attribute: Sequence[str] | None, keep: Sequence[str] | None, rows: str, *, exact: bool) -> Edit:
    """Parse ``--attribute NAME=VALUE ...`` and ``--keep NAME=VALUE,...`` into an edit.

    Raises:
        BadParameter: an option has another form, contradicts another one, or belongs to ``--attribute``, which is not
            given.
    """
    for given, option in ((keep, "--keep"), (exact, "--exact"), (rows == "preset", "--rows")):
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


def landmarker_from_option(option: str) -> Landmarker:
    """Make the landmarker of ``haar``, ``yunet:PATH``, ``mediapipe:PATH`` or ``file:PATH``.

    Raises:
        AlignmentError: ``option`` has another form, or the landmarker cannot be made.
    """
    kind, _, path = option.partition(":")
    if option == "haar":
        return HaarLandmarker()
    if kind == "yunet" and path:
        return YuNetLandmarker(Path(path))
    if kind == "mediapipe" and path:
        return MediaPipeLandmarker(Path(path))
    if kind == "file" and path:
        return FileLandmarker(Path(path))
    raise AlignmentError(
        "landmarks",
        got=repr(option),
        expected="none, haar, yunet:PATH, mediapipe:PATH or file:PATH",
        remedy="choose one of them",
    )
