"""``python -m benchmarks.photographed_faces FOLDER``: what characters share with the people they are made from.

FOLDER holds both model files of ``toonify models`` and two checkouts with photographs: ``deepface`` is
github.com/serengil/deepface at 243209f, ``face_recognition`` is github.com/ageitgey/face_recognition at 2e2dcce.
``photographed_faces.csv`` beside this module lists the faces, with what was seen in them by eye. None took part in the
training. ``results/photographed_faces.csv`` holds a row for each trait of a face; the table of the model card comes
from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.demo_models import MODEL_CARD
from benchmarks.generated import line, with_section
from benchmarks.records import RESULTS_FOLDER, append_records, last_run, read_records
from engines.contract.arrays import Picture
from export.demo_models.augmentation import above_forehead
from export.demo_models.characters.person import Person
from export.demo_models.files import DemoFiles
from export.demo_models.judge import estimate_faces
from export.demo_models.measure import encoded, synthesised
from export.demo_models.models import Models, load_models
from export.networks.generator import generator_from_weights
from serving.command_line import run
from serving.faces.alignment import Points, crop, square_of_any_size
from serving.faces.automatic import mesh_landmarker
from serving.faces.images import read_picture
from serving.faces.model_files import MESH, YUNET, present

LABELS = Path(__file__).with_suffix(".csv")
RESULTS = RESULTS_FOLDER / "photographed_faces.csv"
MODULE = "benchmarks.photographed_faces"

TURN, CHEEK_LIGHT, HAIR_LIGHT = "turn of the head", "lightness of the cheeks", "lightness of the hair"
SKIN_SEEN, HAIR_SEEN = "skin, by eye", "hair, by eye"
GRADUAL = (TURN, CHEEK_LIGHT, SKIN_SEEN, HAIR_LIGHT, HAIR_SEEN)
"""The traits that have degrees; a face has each of the others or not."""

CHEEKS = np.s_[140:170, np.r_[80:105, 150:175]]
"""Rows and columns of an aligned face, 256x256."""


@dataclass(frozen=True)
class LabelledFace:
    """A face of a photograph, and what was seen in it.

    Attributes:
        photograph: the file.
        x: the place of the nose, as a fraction of the width.
        y: the same, of the height.
        skin: from -1, dark, to 1, light.
        hair: from -2, black, to 2, blond; that of grey hair is not used.
    """

    photograph: str
    x: float
    y: float
    glasses: bool
    grey_hair: bool
    beard: bool
    smile: bool
    skin: float
    hair: float


@dataclass(frozen=True)
class TraitRow:
    """A trait of a face: ``person`` in the photograph, ``character`` in the base generator's picture.

    Lightness is a mean grey level, 0..255. The head's turn is the nose's offset from the middle of the eyes, as a
    fraction of their distance; for the character, it is the trait "yaw". Skin and hair by eye are labels; for the
    character, they are the traits "skin_light" and "hair_light". All others are 1 for yes and 0 for no.
    """

    run: str
    commit: str
    photograph: str
    x: float
    y: float
    trait: str
    person: float
    character: float


def main(folder: Annotated[Path, typer.Argument(help="Both models and both checkouts.")]) -> None:
    """Make characters from all faces, append the rows and write the table."""
    run_name, commit = machine.now(), machine.commit()
    labels, points, faces = zip(*labelled_faces(folder), strict=True)
    people = [traits_of_person(*each) for each in zip(labels, points, faces, strict=True)]
    characters = traits_of_characters(load_models(DemoFiles()), np.stack(faces))
    rows = [
        TraitRow(run_name, commit, label.photograph, label.x, label.y, trait, person[trait], character[trait])
        for label, person, character in zip(labels, people, characters, strict=True)
        for trait in person
    ]
    append_records(RESULTS, TraitRow, rows)
    MODEL_CARD.write_text(with_section(MODEL_CARD.read_text(), MODULE, table(read_records(RESULTS, TraitRow))))


def labelled_faces(folder: Path) -> Iterator[tuple[LabelledFace, Points, Picture]]:
    """Yield each label with its face's points and its aligned face, uint8 [256, 256, 3].

    Raises:
        BadParameter: a photograph shows no face where the label has one.
    """
    landmarker = mesh_landmarker(present(YUNET, folder), present(MESH, folder))
    for photograph, labels in groupby(read_records(LABELS, LabelledFace), lambda label: label.photograph):
        photo = read_picture(folder / photograph)
        found = [face.points for face in landmarker(photo, photograph)]
        for label in labels:
            nose = np.array([label.x * photo.shape[1], label.y * photo.shape[0]])
            points = next(
                (points for points in found if np.linalg.norm(points[2] - nose) < _distance_of_eyes(points)), None
            )
            if points is None:
                raise typer.BadParameter(
                    f"{photograph}: got no face at {label.x}, {label.y}; expected the named commit"
                )
            yield label, points, crop(photo, square_of_any_size(points))


def _distance_of_eyes(points: Points) -> float:
    return float(np.linalg.norm(points[1] - points[0]))


def traits_of_person(label: LabelledFace, points: Points, face: Picture) -> dict[str, float]:
    """Return what is measured in a photograph, and what was seen by eye."""
    left, right, nose = points[:3]
    across = (right - left) / _distance_of_eyes(points) ** 2
    return {
        TURN: float((nose - (left + right) / 2) @ across),
        **lightnesses(face),
        SKIN_SEEN: label.skin,
        **({} if label.grey_hair else {HAIR_SEEN: label.hair}),
        **flags(glasses=label.glasses, grey_hair=label.grey_hair, beard=label.beard, smile=label.smile),
    }


def traits_of_characters(models: Models, faces: NDArray[np.uint8]) -> list[dict[str, float]]:
    """Return the traits of the base generator's pictures of faces [N, 256, 256, 3], as the judge estimates them."""
    pictures = synthesised(generator_from_weights(models.base), encoded(models.encoder, faces))
    people = [Person(code) for code in estimate_faces(models.judge, pictures).traits]
    return [
        {
            TURN: person.trait("yaw"),
            **lightnesses(picture),
            SKIN_SEEN: person.trait("skin_light"),
            HAIR_SEEN: person.trait("hair_light"),
            **flags(
                glasses=person.has("glasses") > 0.5,
                grey_hair=person.has("age") > 0.5,
                beard=person.growth > 0.5,
                smile=person.has("expression") > 0.5,
            ),
        }
        for person, picture in zip(people, pictures, strict=True)
    ]


def lightnesses(face: Picture) -> dict[str, float]:
    """Return mean grey levels of an aligned face [256, 256, 3]."""
    return {
        CHEEK_LIGHT: float(face[CHEEKS].mean()),
        HAIR_LIGHT: float(above_forehead(face).mean()),
    }


def flags(*, glasses: bool, grey_hair: bool, beard: bool, smile: bool) -> dict[str, float]:
    """Return 1 for each trait that a face has, and 0 for others."""
    return {"glasses": float(glasses), "grey hair": float(grey_hair), "beard": float(beard), "smile": float(smile)}


def table(records: Sequence[TraitRow]) -> str:
    """The tables of the last run, in Markdown."""
    rows = last_run(records)
    traits = {trait: [row for row in rows if row.trait == trait] for trait in dict.fromkeys(row.trait for row in rows)}
    lines = ["", f"{len(traits[TURN])} photographed faces:", "", "| trait | correlation |", "|---|--:|"]
    for trait in GRADUAL:
        correlation = np.corrcoef([(row.person, row.character) for row in traits[trait]], rowvar=False)[0, 1]
        lines.append(line(trait, f"{correlation:.2f}"))
    lines += ["", "| trait | right | of those who have it | of the others, wrongly |", "|---|--:|--:|--:|"]
    lines += [line(trait, *counts(group)) for trait, group in traits.items() if trait not in GRADUAL]
    return "\n".join([*lines, "", f"Run {rows[0].run}, commit {rows[0].commit}.", ""])


def counts(group: Sequence[TraitRow]) -> tuple[str, str, str]:
    """Return how many characters are right about a trait, how many have it of the people who do, and who do not."""
    having = [row.character for row in group if row.person]
    others = [row.character for row in group if not row.person]
    right = sum(row.person == row.character for row in group) / len(group)
    return f"{100 * right:.0f} %", f"{sum(having):.0f} of {len(having)}", f"{sum(others):.0f} of {len(others)}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
