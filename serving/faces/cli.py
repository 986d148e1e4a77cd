"""``toonify faces``: what is found in photographs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import cv2
import numpy as np
import typer
from rich.table import Table

from engines.contract.atomic import check_output
from engines.contract.errors import AlignmentError
from serving.command_line import print_table
from serving.faces.alignment import Photo, Placement, placement_of_face, side_of
from serving.faces.images import check_suffix, read_picture, write_picture
from serving.faces.landmarks import Face
from serving.faces.left_alone import SMALLEST_TOONIFIED
from serving.faces.picture_files import PICTURES
from serving.faces.pose import facing, yaw_of
from serving.job_runs import run_jobs
from serving.jobs import Job, files_in
from serving.options import Align, Force, landmarker_from_option
from serving.reporting import ErrorReporter

_SQUARE, _UNUSED, _POINT, _MESH = (60, 220, 60), (230, 60, 60), (255, 220, 0), (120, 200, 255)


def faces(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="PNG, JPEG, WebP or AVIF pictures, or folders.")
    ],
    align: Align = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines, all points too, in the form of --align file:PATH.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Draw squares and points into a copy of the one photograph.")
    ] = None,
    force: Force = False,
) -> None:
    """Tell which faces are found in photographs: their squares, how far they are turned, and whether they are used."""
    if align == "none":
        raise typer.BadParameter("faces cannot be found by none", param_hint="--align")
    pictures = files_in(photos, PICTURES)
    if draw is not None:
        if len(pictures) > 1:
            raise typer.BadParameter("one drawing shows one photograph; give one", param_hint="--draw")
        check_suffix(draw)
        check_output(draw, force=force)
    landmarker = landmarker_from_option(align)

    def run(path: Path, _: Path) -> None:
        photo = read_picture(path)
        found = landmarker(photo, path.name)
        if as_json:
            typer.echo(json.dumps({"picture": path.name, "faces": [*map(record_of, found)]}))
        else:
            _print_table(path, found)
        if draw is not None:
            write_picture(draw, drawing_of(photo, found), force=force)

    jobs = [Job(picture, picture) for picture in pictures]
    if not run_jobs(jobs, run, ErrorReporter(), skip_existing=False):
        raise typer.Exit(1)


class Square(TypedDict):
    """A face's crop: centre [x, y] and side in pixels, angle of the upper edge in degrees, clockwise positive."""

    centre: list[float]
    side: float
    angle: float


def record_of(face: Face) -> dict[str, Any]:
    """Return a face as JSON: what ``FileLandmarker`` reads, and what follows from it."""
    return {
        "points": np.round(face.points, 2).tolist(),
        "box": [round(value, 2) for value in face.box],
        "score": round(face.score, 4),
        "presence": round(face.presence, 4),
        "yaw": round(yaw_of(face), 1),
        "facing": facing(face),
        "square": _square_of(face),
        "mesh": None if face.mesh is None else np.round(face.mesh.points, 2).tolist(),
    }


def drawing_of(photo: Photo, found: Sequence[Face]) -> Photo:
    """Return a copy of a photograph with each face's square (red if it is not used), points and mesh."""
    drawing = photo.copy()
    width = max(round(max(photo.shape) / 600), 1)
    for face in found:
        if face.mesh is not None:
            _dots(drawing, face.mesh.points[:, :2], width, _MESH)
        _dots(drawing, face.points, 2 * width, _POINT)
        placement = _placement_of(face)
        if placement is not None:
            corners = placement @ np.array([[0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
            colour = _SQUARE if _used(face) == "yes" else _UNUSED
            cv2.polylines(drawing, [np.rint(corners.T).astype(np.int32)], True, colour, width, cv2.LINE_AA)
            up = np.rint(placement @ np.array([[0.5, 0.5], [0, 0.06], [1, 1]])).astype(int)
            cv2.line(drawing, up[:, 0].tolist(), up[:, 1].tolist(), colour, width, cv2.LINE_AA)  # marks the upper edge
    return drawing


def _dots(drawing: Photo, points: np.ndarray[Any, Any], radius: int, colour: tuple[int, int, int]) -> None:
    for x, y in np.rint(points).astype(int).tolist():
        cv2.circle(drawing, (x, y), radius, colour, -1, cv2.LINE_AA)


def _print_table(path: Path, found: Sequence[Face]) -> None:
    typer.echo(f"{path}: {len(found) or 'no'} {'face' if len(found) == 1 else 'faces'}")
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("centre", "side", "angle", "yaw", "score", "presence", "used"):
        table.add_column(heading, justify="right", overflow="fold")
    for face in found:
        square = _square_of(face)
        cells = ("", "", "") if square is None else _cells(square)
        table.add_row(*cells, f"{yaw_of(face):.0f}", f"{face.score:.2f}", f"{face.presence:.2f}", _used(face))
    print_table(table)


def _used(face: Face) -> str:
    """Return whether ``toonify image`` toonifies a face."""
    placement = _placement_of(face)
    if facing(face) == "away":
        return "no, turned away or not whole"
    if placement is None:
        return "no, too small"
    return "yes" if side_of(placement) >= SMALLEST_TOONIFIED else "with --smallest-face"


def _cells(square: Square) -> tuple[str, str, str]:
    x, y = square["centre"]
    return f"{x:.0f}, {y:.0f}", f"{square['side']:.0f}", f"{square['angle']:.1f}"


def _square_of(face: Face) -> Square | None:
    """Return a face's crop, or None for impossible landmarks."""
    placement = _placement_of(face)
    if placement is None:
        return None
    angle = float(np.degrees(np.arctan2(placement[1, 0], placement[0, 0])))
    centre = np.round(placement @ [0.5, 0.5, 1], 1).tolist()
    return {"centre": centre, "side": round(side_of(placement), 1), "angle": round(angle, 1)}


def _placement_of(face: Face) -> Placement | None:
    try:
        return placement_of_face(face.points)
    except AlignmentError:
        return None
