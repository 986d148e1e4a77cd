"""``python -m benchmarks.far_codes FOLDER``: how far out codes of good and of bad inputs lie, with the demo models.

FOLDER holds photographs and both model files of ``toonify models``. Good inputs are random faces that the spread was
not measured on. Each face of the photographs is also darkened, reduced and turned upside down, and squares are cut
anywhere out of the photographs. ``results/far_codes.csv`` holds a row for each input; the table of
``serving/faces/README.md`` comes from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks import machine
from benchmarks.generated import FACES_README, line, with_section
from benchmarks.records import RESULTS_FOLDER, append_records, last_run, read_records
from engines.contract.arrays import Codes, Picture
from engines.contract.tensors import FACE_SIZE
from export.checkpoints import read_generator
from export.code_spread import codes_of_random_faces, encoder_of, measured_code_spread
from export.demo_models.files import DemoFiles
from export.networks.restyle import face_encoder_from_weights
from serving.code_spread import CodeSpread
from serving.command_line import run
from serving.faces.alignment import crop, square_of_any_size
from serving.faces.automatic import mesh_landmarker
from serving.faces.images import read_picture
from serving.faces.model_files import MESH, YUNET, present
from serving.faces.picture_files import PICTURES
from serving.jobs import files_in

RESULTS = RESULTS_FOLDER / "far_codes.csv"

SEEDS = range(1000, 1200)
LIGHTS = {"with a third of their light": 1 / 3, "with an eighth of their light": 1 / 8}
SIZES = (48, 24)
SQUARES = 4
"""Squares anywhere in a photograph for each of its faces."""


@dataclass(frozen=True)
class FarCodeRow:
    """How far out the code of one input lies; ``same``: the guard left it bit for bit."""

    run: str
    commit: str
    inputs: str
    name: str
    distance: float
    same: bool


def main(folder: Annotated[Path, typer.Argument(help="Photographs and both models.")]) -> None:
    """Measure all inputs, append the rows and write the table."""
    demo = DemoFiles()
    encode, base = encoder_of(face_encoder_from_weights(demo.read_encoder())), read_generator(demo.base)
    spread, run_name, commit = measured_code_spread(encode, base), machine.now(), machine.commit()
    good = codes_of_random_faces(encode, base, SEEDS)
    codes = [("random faces of other seeds", str(seed), code[None]) for seed, code in zip(SEEDS, good, strict=True)]
    codes += [(kind, name, encode(picture)) for kind, name, picture in inputs_of(folder)]
    rows = [FarCodeRow(run_name, commit, kind, name, *judged(spread, code)) for kind, name, code in codes]
    append_records(RESULTS, FarCodeRow, rows)
    section = table(read_records(RESULTS, FarCodeRow))
    FACES_README.write_text(with_section(FACES_README.read_text(), "benchmarks.far_codes", section))


def judged(spread: CodeSpread, code: Codes) -> tuple[float, bool]:
    """Return how far out a code [1, L, D] lies, and whether the guard leaves it bit for bit."""
    guarded, (distance,) = spread.guarded(code)
    return float(distance), guarded.tobytes() == code.tobytes()


def inputs_of(folder: Path) -> Iterator[tuple[str, str, Picture]]:
    """Yield kind, name and picture, uint8 [256, 256, 3], of every input that comes from the photographs."""
    landmarker, rng = mesh_landmarker(present(YUNET, folder), present(MESH, folder)), np.random.default_rng(0)
    for path in files_in([folder], PICTURES):
        photo = read_picture(path)
        for number, face in enumerate(landmarker(photo, path.name)):
            name = f"{path.name} {number}"
            for kind, picture in variants(crop(photo, square_of_any_size(face.points))):
                yield kind, name, picture
            for square in range(SQUARES):
                yield "squares anywhere in the photographs", f"{name} {square}", _any_square(photo, rng)


def variants(face: Picture) -> Iterator[tuple[str, Picture]]:
    """Yield a face as it is, darkened, reduced and upside down."""
    yield "faces of photographs", face
    for kind, light in LIGHTS.items():
        yield f"the same {kind}", (face * light).astype(np.uint8)
    for size in SIZES:
        yield f"the same, reduced to {size} pixels", reduced(face, size)
    yield "the same, upside down", np.ascontiguousarray(face[::-1])


def reduced(face: Picture, side: int) -> Picture:
    """Return a face as if it were ``side`` pixels wide in the photograph."""
    return _face_sized(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8))


def _any_square(photo: Picture, rng: np.random.Generator) -> Picture:
    height, width = photo.shape[:2]
    side = int(rng.integers(min(height, width) // 16, min(height, width) // 2))
    x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    return _face_sized(photo[y : y + side, x : x + side])


def _face_sized(picture: Picture) -> Picture:
    return cv2.resize(picture, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def table(records: Sequence[FarCodeRow]) -> str:
    """The table of the last run, in Markdown."""
    rows = last_run(records)
    lines = ["", "| inputs | far | unchanged bit for bit | distance: least, median, largest |", "|---|--:|--:|--:|"]
    for kind in dict.fromkeys(row.inputs for row in rows):
        group = [row for row in rows if row.inputs == kind]
        far, same = (sum(flags) for flags in ((row.distance > 1 for row in group), (row.same for row in group)))
        least, median, largest = np.quantile([row.distance for row in group], [0, 0.5, 1])
        cells = f"{far} of {len(group)}", f"{same}", f"{least:.2f}, {median:.2f}, {largest:.2f}"
        lines.append(line(kind, *cells))
    return "\n".join([*lines, "", f"Run {rows[0].run}, commit {rows[0].commit}.", ""])


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
