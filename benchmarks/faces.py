"""``python -m benchmarks.faces FOLDER``: how well landmarkers find and square the faces of real photographs.

FOLDER holds photographs, both model files of ``toonify models``, and ``squares.json``, which maps file names to the
FFHQ squares of dlib's 68 points: ``{"a.jpg": [{"centre": [x, y], "side": s, "angle": degrees}]}``, in pixels, the angle
of the upper edge clockwise. Each photograph is also turned, and reduced until its smallest square is 5 % of it.
``results/faces.json`` holds a row for each face; the tables of ``serving/faces/README.md`` come from it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import TypeAdapter

from benchmarks import machine
from benchmarks.generated import FACES_README, line, with_section
from engines.contract.errors import AlignmentError
from serving.command_line import run
from serving.faces.alignment import Photo, Placement, placement_of_face, side_of
from serving.faces.automatic import mesh_landmarker
from serving.faces.following import following
from serving.faces.haar import HaarLandmarker
from serving.faces.images import read_picture
from serving.faces.landmarks import Landmarker
from serving.faces.model_files import MESH, YUNET, present
from serving.faces.pose import facing
from serving.faces.yunet import YuNetLandmarker

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/faces.json"

TURNS = (0, -45, -30, -15, 15, 30, 45)
MAX_TILT = 47.0
SMALL = 0.05
"""Side of the smallest square in a reduced photograph, as a fraction of the picture's longer side."""

BLOCKS, FRAMES = 8, 60
MATCHED = 0.35
"""Largest distance of two squares' centres, in sides, at which they are one face's."""


@dataclass(frozen=True)
class Square:
    """A face's crop: centre in pixels, side in pixels, angle in degrees, clockwise positive."""

    centre: tuple[float, float]
    side: float
    angle: float


@dataclass(frozen=True)
class FaceRow:
    """What a landmarker made of one face.

    ``tilt``: the reference's angle. ``part``: the reference's side as a fraction of the picture's longer side.
    ``centre``: distance of the centres in sides. ``side``: ratio of the sides. ``angle``: difference in degrees. The
    last three are None if the face was not found.
    """

    landmarker: str
    picture: str
    turn: int
    reduced: bool
    tilt: float
    part: float
    centre: float | None = None
    side: float | None = None
    angle: float | None = None


@dataclass(frozen=True)
class Results:
    """All rows of a run; ``milliseconds``: what ``milliseconds`` returned for each case."""

    run: str
    commit: str
    device: str
    rows: list[FaceRow]
    milliseconds: dict[str, tuple[float, float]]


def main(folder: Annotated[Path, typer.Argument(help="Photographs, squares.json and both models.")]) -> None:
    """Measure all landmarkers, write the rows and the tables."""
    yunet, task = present(YUNET, folder), present(MESH, folder)
    landmarkers: dict[str, Landmarker] = {
        "haar": HaarLandmarker(),
        "yunet": YuNetLandmarker(yunet),
        "auto": mesh_landmarker(yunet, task),
    }
    squares = TypeAdapter(dict[str, list[Square]]).validate_json((folder / "squares.json").read_bytes())
    rows = [
        row
        for name, references in squares.items()
        for case in cases(name, read_picture(folder / name), references)
        for kind, landmarker in landmarkers.items()
        for row in case.rows(kind, landmarker)
    ]
    largest = read_picture(folder / max(squares, key=lambda name: squares[name][0].side))
    times = {
        "a photograph": milliseconds(lambda: landmarkers["auto"](largest), 3),
        "a frame of 1280x720, one face followed": stream_milliseconds(
            following(landmarkers["auto"]), next(iter(squares)), folder, squares
        ),
    }
    results = Results(machine.now(), machine.commit(), machine.device(), rows, times)
    RESULTS.write_text(json.dumps(asdict(results), indent=None).replace('{"landmarker"', '\n{"landmarker"') + "\n")
    write_tables()


@dataclass(frozen=True, eq=False)
class Case:
    """A photograph, turned and perhaps reduced, with the squares of its faces."""

    name: str
    turn: int
    reduced: bool
    photo: Photo
    references: list[Square]

    def rows(self, kind: str, landmarker: Landmarker) -> Iterator[FaceRow]:
        """Yield a row for each of the faces."""
        found = [*_placements(landmarker, self.photo)]
        for reference in self.references:
            nearest = min(found, key=lambda placement: _distance(placement, reference), default=None)
            errors = () if nearest is None or _distance(nearest, reference) > MATCHED else _errors(nearest, reference)
            part = reference.side / max(self.photo.shape[:2])
            yield FaceRow(kind, self.name, self.turn, self.reduced, reference.angle, part, *errors)


def cases(name: str, photo: Photo, references: Sequence[Square]) -> Iterator[Case]:
    """Turn a photograph, as it is and reduced; only faces tilted by at most ``MAX_TILT`` degrees are kept."""
    smallest = min(reference.side for reference in references)
    for reduced in (False, True):
        for turn in TURNS:
            kept = [reference for reference in references if abs(reference.angle + turn) <= MAX_TILT]
            if kept:
                longer = max(photo.shape[:2])
                scale = min(SMALL * longer / smallest, 1.0) if reduced else 1.0
                size = (photo.shape[1], photo.shape[0]) if reduced else _turned_size(photo, turn)
                moved, matrix = _placed(photo, turn, scale, size)
                yield Case(name, turn, reduced, moved, [_moved(square, matrix, turn, scale) for square in kept])


def _turned_size(photo: Photo, turn: float) -> tuple[int, int]:
    height, width = photo.shape[:2]
    cos, sin = abs(np.cos(np.radians(turn))), abs(np.sin(np.radians(turn)))
    return int(np.ceil(width * cos + height * sin)), int(np.ceil(width * sin + height * cos))


def _placed(photo: Photo, turn: float, scale: float, size: tuple[int, int]) -> tuple[Photo, NDArray[np.float64]]:
    """Turn a photograph clockwise and reduce it about the middle of a grey picture; return it and the map into it."""
    height, width = photo.shape[:2]
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -turn, scale), np.float64)
    matrix[:, 2] += (np.array(size) - [width, height]) / 2
    smooth = cv2.GaussianBlur(photo, (0, 0), 0.5 / scale) if scale < 1 else photo
    moved = cv2.warpAffine(smooth, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(100, 100, 100))
    return moved.astype(np.uint8, copy=False), matrix


def _moved(square: Square, matrix: NDArray[np.float64], turn: float, scale: float) -> Square:
    x, y = (matrix @ [*square.centre, 1]).tolist()
    return Square((x, y), square.side * scale, square.angle + turn)


def _placements(landmarker: Landmarker, photo: Photo) -> Iterator[Placement]:
    for face in landmarker(photo):
        if facing(face) != "away":
            try:
                yield placement_of_face(face.points)
            except AlignmentError:
                continue


def _distance(placement: Placement, reference: Square) -> float:
    return float(np.hypot(*(placement @ [0.5, 0.5, 1] - reference.centre)) / reference.side)


def _errors(placement: Placement, reference: Square) -> tuple[float, float, float]:
    angle = float(np.degrees(np.arctan2(placement[1, 0], placement[0, 0])))
    return _distance(placement, reference), side_of(placement) / reference.side, angle - reference.angle


def milliseconds(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """Time a call in blocks of ``calls``: the least and the median of the blocks' means, in milliseconds.

    Other work on the machine can only add to a time, so the least is the nearest to that of an idle one.
    """
    call()
    means = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        means.append(1000 * (time.perf_counter() - start) / calls)
    return min(means), float(np.median(means))


def stream_milliseconds(
    landmarker: Landmarker, name: str, folder: Path, squares: dict[str, list[Square]]
) -> tuple[float, float]:
    """Time the frames of a clip in which the first face of a photograph sways."""
    photo, face = read_picture(folder / name), squares[name][0]
    scale = 250 / face.side
    frames = []
    for i in range(30):
        shift = np.array([640 + 20 * np.sin(i / 4.8), 360 + 10 * np.cos(i / 4.8)]) - scale * np.array(face.centre)
        matrix = np.column_stack([scale * np.eye(2), shift])
        frames.append(cv2.warpAffine(photo, matrix, (1280, 720)).astype(np.uint8, copy=False))
    order = iter(i % 58 if i % 58 < 30 else 58 - i % 58 for i in count())  # to and fro, without a jump
    return milliseconds(lambda: landmarker(frames[next(order)]), FRAMES)


def write_tables() -> None:
    """Bring the tables of the page about faces up to date."""
    results = TypeAdapter(Results).validate_json(RESULTS.read_bytes())
    FACES_README.write_text(with_section(FACES_README.read_text(), "benchmarks.faces", tables(results)))


def tables(results: Results) -> str:
    """All tables, in Markdown."""
    rows, auto = results.rows, [row for row in results.rows if row.landmarker == "auto"]
    kinds = [*dict.fromkeys(row.landmarker for row in rows)]
    groups = {f"`{kind}`": [row for row in rows if row.landmarker == kind] for kind in kinds}
    for low, high in ((0, 15), (15, 30), (30, 45)):
        inside = [row for row in auto if low <= abs(row.tilt) < (high if high < 45 else MAX_TILT)]
        groups[f"`auto`, tilts of {low} to {high} degrees"] = inside
    groups["`auto`, reduced photographs"] = [row for row in auto if row.reduced]
    faces = {(row.picture, round(row.tilt - row.turn, 3)) for row in auto if not row.reduced}
    smallest = 100 * min(row.part for row in auto)
    return "\n".join(
        [
            "",
            "| `--align` | found | centre, median (p90), % of side | side ratio, 5 to 95 % "
            "| angle error, median / p90 / max | error per degree of tilt |",
            "|---|--:|--:|--:|--:|--:|",
            *(_line(name, group) for name, group in groups.items()),
            "",
            f"{len(faces)} faces in {len({row.picture for row in auto})} photographs: as they are, turned by up to 45 "
            f"degrees, and reduced until the smallest square is {smallest:.0f} % of the picture's longer side. The "
            "reference is the square of dlib's 68 points, by which FFHQ was aligned.",
            "",
            _spread_of_angles(auto),
            "",
            f"| time of `auto`, ms: {BLOCKS} means | least | median |",
            "|---|--:|--:|",
            *(f"| {name} | {least:.1f} | {median:.1f} |" for name, (least, median) in results.milliseconds.items()),
            "",
            f"Run {results.run}, commit {results.commit}; {results.device}.",
            "",
        ]
    )


def _spread_of_angles(rows: Sequence[FaceRow]) -> str:
    """Say how much of the angles' errors changes with a face's turn, and how much is the same at every turn."""
    errors: defaultdict[tuple[str, float, bool], list[float]] = defaultdict(list)
    for row in rows:
        if row.angle is not None:
            errors[row.picture, round(row.tilt - row.turn, 3), row.reduced].append(row.angle)
    spread = np.median([np.std(group) for group in errors.values()])
    constant = np.median([abs(np.mean(group)) for group in errors.values()])
    return (
        f"Turning a photograph changes the angle's error of a face by {spread:.1f} degrees with `auto` (standard "
        f"deviation, median of the faces); {constant:.1f} degrees are the same at every turn, by which dlib's points "
        "and the mesh differ on that face."
    )


def _line(name: str, rows: Sequence[FaceRow]) -> str:
    found = [row for row in rows if row.angle is not None]
    values: NDArray[Any] = np.array([(row.centre, row.side, row.angle, row.tilt) for row in found], np.float64)
    centre, side, angle, tilt = values.T
    errors = np.abs(angle)
    slope = float(np.cov(tilt, angle)[0, 1] / max(np.var(tilt, ddof=1), 1e-9))
    cells = (
        name,
        f"{len(found)} of {len(rows)}",
        f"{100 * np.median(centre):.1f} ({100 * np.percentile(centre, 90):.1f})",
        f"{np.percentile(side, 5):.2f} to {np.percentile(side, 95):.2f}",
        f"{np.median(errors):.1f} / {np.percentile(errors, 90):.1f} / {errors.max():.1f}",
        f"{slope:+.2f}",
    )
    return line(*cells)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
