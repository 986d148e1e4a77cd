"""Options that several commands of ``toonify`` share, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from engines.contract.errors import AlignmentError
from serving.faces.haar import HaarLandmarker
from serving.faces.landmark_files import FileLandmarker
from serving.faces.landmarks import Landmarker
from serving.faces.mediapipe import MediaPipeLandmarker
from serving.faces.yunet import YuNetLandmarker

Url = Annotated[str | None, typer.Option(help="HOST:PORT of the server's gRPC endpoint; default 127.0.0.1:8001.")]
Model = Annotated[str | None, typer.Option(help="Name of a served model, or of one of the generators.")]
Encoder = Annotated[Path | None, typer.Option(help="Model directory of an encoder, to work without a server.")]
Isf = Annotated[Path | None, typer.Option(help="Model directory of an ISF head, with --encoder.")]
Generators = Annotated[list[Path] | None, typer.Option(help="Model directory of a generator, with --encoder.")]
LightEncoder = Annotated[
    Path | None, typer.Option(help="Output of toonify-export encoder --light, with --encoder; encodes most frames.")
]
Timeout = Annotated[float, typer.Option(help="Seconds for each request to the server.")]
AttributeOptions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Target of the edit, 0 or 1; attributes left out become 0."),
]
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


def attributes_from_options(options: Sequence[str], rows: str) -> dict[str, float]:
    """Parse ``--attribute NAME=VALUE ...`` into the target by name.

    Raises:
        BadParameter: an option has another form, or ``rows`` is "preset" and there is no attribute.
    """
    if rows == "preset" and not options:
        raise typer.BadParameter("presets belong to attributes; give --attribute", param_hint="--rows")
    attributes = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            attributes[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{option!r} is not NAME=NUMBER", param_hint="--attribute") from None
    return attributes


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
