"""Landmarks from a JSON file, looked up by the picture's file name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engines.contract.errors import AlignmentError
from serving.faces.alignment import Photo
from serving.faces.landmarks import Face, Mesh, box_around, largest_first
from serving.faces.mesh_network import MESH_POINTS

_Point = tuple[float, float]


class _FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FaceRecord(_FileRecord):
    points: tuple[_Point, _Point, _Point, _Point, _Point]
    box: tuple[float, float, float, float] | None = None
    score: float = 1.0
    presence: float = 1.0
    mesh: (
        Annotated[tuple[tuple[float, float, float], ...], Field(min_length=MESH_POINTS, max_length=MESH_POINTS)] | None
    ) = None
    # What follows from the points; toonify faces writes it, and it is not read.
    yaw: float | None = None
    facing: str | None = None
    square: dict[str, Any] | None = None

    def face(self) -> Face:
        points = np.array(self.points, np.float64)
        mesh = None if self.mesh is None else Mesh(np.array(self.mesh, np.float64), self.presence)
        return Face(points, self.box or box_around(points), self.score, self.presence, mesh)


class _PictureRecord(_FileRecord):
    picture: str
    faces: tuple[_FaceRecord, ...]


class FileLandmarker:
    """Landmarks from a file, looked up by the picture's file name.

    The file is JSON, an array of ``{"picture": "a.jpg", "faces": [{"points": [[x, y], five of them]}]}``, or JSON Lines
    with one such object per line. A face may also have what ``toonify faces --json`` writes: ``box`` [x, y, width,
    height], ``score``, ``presence`` and ``mesh``, 478 points [x, y, depth].

    Raises:
        AlignmentError: the file is missing or has another form; when called: it has no record of the picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            records = _records(path.read_bytes())
        except OSError as error:
            raise self._refused(error.strerror or "an unreadable file") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise self._refused(f"{first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}") from None
        self._faces = {record.picture: record.faces for record in records}

    def __call__(self, photo: Photo, name: str = "") -> tuple[Face, ...]:
        if name not in self._faces:
            raise AlignmentError(
                str(self._path),
                got=f"no record of {name!r}",
                expected="a record for every picture",
                remedy="add one, with an empty list if the picture has no faces",
            )
        return largest_first(record.face() for record in self._faces[name])

    def _refused(self, got: str) -> AlignmentError:
        return AlignmentError(
            str(self._path),
            got=got,
            expected='an array or lines of {"picture": NAME, "faces": [{"points": [[x, y], ...]}]}',
            remedy="correct the file",
        )


def _records(data: bytes) -> list[_PictureRecord]:
    if data.lstrip().startswith(b"["):
        return TypeAdapter(list[_PictureRecord]).validate_json(data)
    return [_PictureRecord.model_validate_json(line) for line in data.splitlines() if line.strip()]
