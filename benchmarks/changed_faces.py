"""``python -m benchmarks.changed_faces FOLDER``: how far the demo encoder's codes move when faces change.

FOLDER is that of ``benchmarks.photographed_faces``, whose faces are shown in other light, and small, here. An encoder
that this misleads makes another person of the same face. ``results/changed_faces.csv`` holds a row for each change of a
face; the table of the model card comes from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.demo_models import MODEL_CARD
from benchmarks.far_codes import reduced
from benchmarks.generated import line, with_section
from benchmarks.photographed_faces import LabelledFace, labelled_faces
from benchmarks.records import RESULTS_FOLDER, append_records, last_run, read_records
from engines.contract.arrays import Picture
from export.demo_models.files import DemoFiles
from export.demo_models.measure import encoded
from export.demo_models.models import load_models
from serving.command_line import run

RESULTS = RESULTS_FOLDER / "changed_faces.csv"
MODULE = "benchmarks.changed_faces"

GAINS = {
    "half the light": (0.5, 0.5, 0.5),
    "a third of the light": (1 / 3, 1 / 3, 1 / 3),
    "an eighth of the light": (1 / 8, 1 / 8, 1 / 8),
    "1.6 times the light": (1.6, 1.6, 1.6),
    "warm light": (1.25, 1.0, 0.75),
    "cold light": (0.8, 1.0, 1.25),
}
"""Factors of red, green and blue."""
FROM_THE_SIDE = (0.4, 1.3)
"""Factors at a face's left and right border."""
SIDES = (48, 32, 24)
"""The sides of small faces, in pixels."""


@dataclass(frozen=True)
class MovedCodeRow:
    """How far a change moved the code of a face, as a fraction of the median distance between the codes of two faces.

    ``x`` and ``y`` are the place of the nose, as fractions of the photograph's width and height.
    """

    run: str
    commit: str
    photograph: str
    x: float
    y: float
    change: str
    moved: float


def main(folder: Annotated[Path, typer.Argument(help="Both models and both checkouts.")]) -> None:
    """Encode all faces with each change, append the rows and write the table."""
    labels, _, faces = zip(*labelled_faces(folder), strict=True)
    rows = moved_codes(labels, np.stack(faces))
    append_records(RESULTS, MovedCodeRow, rows)
    MODEL_CARD.write_text(with_section(MODEL_CARD.read_text(), MODULE, table(read_records(RESULTS, MovedCodeRow))))


def moved_codes(labels: Sequence[LabelledFace], faces: NDArray[np.uint8]) -> list[MovedCodeRow]:
    """Return a row for each change of each face; faces are uint8 RGB [N, 256, 256, 3]."""
    encoder, run_name, commit = load_models(DemoFiles()).encoder, machine.now(), machine.commit()

    def codes(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        return encoded(encoder, pictures).flatten(1).numpy()

    before = codes(faces)
    pairs = np.triu_indices(len(before), 1)
    unit = np.median(np.linalg.norm(before[pairs[0]] - before[pairs[1]], axis=1))
    changed = [changes(face) for face in faces]
    rows = []
    for change in changed[0]:
        moves = np.linalg.norm(codes(np.stack([pictures[change] for pictures in changed])) - before, axis=1) / unit
        for label, moved in zip(labels, moves, strict=True):
            rows.append(MovedCodeRow(run_name, commit, label.photograph, label.x, label.y, change, float(moved)))
    return rows


def changes(face: Picture) -> dict[str, Picture]:
    """Return a face [256, 256, 3] in each light, and small."""
    across = np.linspace(*FROM_THE_SIDE, face.shape[1])[:, None]
    grey = np.repeat(face.mean(2, keepdims=True), 3, 2)
    return {
        **{change: _rounded(face * np.array(gains)) for change, gains in GAINS.items()},
        "light from the side": _rounded(face * across),
        "black-and-white": _rounded(grey),
        **{f"reduced to {side} pixels": reduced(face, side) for side in SIDES},
    }


def _rounded(pixels: NDArray[Any]) -> Picture:
    return np.asarray(np.rint(np.clip(pixels, 0, 255)), np.uint8)


def table(records: Sequence[MovedCodeRow]) -> str:
    """The table of the last run, in Markdown."""
    rows = last_run(records)
    names = list(dict.fromkeys(row.change for row in rows))
    lines = ["", f"{len(rows) // len(names)} photographed faces:", ""]
    lines += ["| change | median | 95th percentile |", "|---|--:|--:|"]
    for name in names:
        median, large = np.quantile([row.moved for row in rows if row.change == name], (0.5, 0.95))
        lines.append(line(name, f"{median:.2f}", f"{large:.2f}"))
    return "\n".join([*lines, "", f"Run {rows[0].run}, commit {rows[0].commit}.", ""])


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
