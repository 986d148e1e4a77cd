"""Input files for perf_analyzer: what they hold, and that the command writes them."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TinyModels
from typer.testing import CliRunner

from engines.contract.errors import ExportError
from export.cli import app
from export.perf_data import FACES, write_perf_data
from serving.faces.jpeg import face_from_jpeg


def values(path: Path, name: str) -> list[bytes]:
    """The bytes of an input in each request; each has no other input."""
    requests = json.loads(path.read_text())["data"]
    assert [[*request] for request in requests] == [[name]] * FACES
    return [base64.b64decode(request[name]["b64"]) for request in requests]


def test_both_files_hold_the_same_faces(tmp_path: Path) -> None:
    write_perf_data(tmp_path / "perf")
    faces = values(tmp_path / "perf/faces.json", "face")
    jpegs = values(tmp_path / "perf/faces_jpeg.json", "jpeg")
    assert len({*faces}) == FACES
    for face, jpeg in zip(faces, jpegs, strict=True):
        assert struct.unpack("<I", jpeg[:4]) == (len(jpeg) - 4,)
        difference = face_from_jpeg(jpeg[4:]).astype(int) - np.frombuffer(face, np.uint8).reshape(256, 256, 3)
        assert np.abs(difference).mean() < 5  # what a JPEG loses of a drawing


def test_the_command_writes_them_beside_the_repository(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    models = tiny_model_directories
    options = ["--encoder", models.encoder, "--generator", models.generators["plain"], "--output", tmp_path / "served"]
    command = ["repository", *map(str, options), "--perf-data", str(tmp_path / "perf")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert {path.name for path in (tmp_path / "perf").iterdir()} == {"faces.json", "faces_jpeg.json"}
    assert (tmp_path / "served/toonify/config.pbtxt").is_file()


def test_a_folder_that_is_there_is_refused_before_any_work(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    models = tiny_model_directories
    options = ["--encoder", models.encoder, "--generator", models.generators["plain"], "--output", tmp_path / "served"]
    result = CliRunner().invoke(app, ["repository", *map(str, options), "--perf-data", str(tmp_path)])
    assert isinstance(result.exception, ExportError)
    assert not (tmp_path / "served").exists()
    with pytest.raises(ExportError, match="already there"):
        write_perf_data(tmp_path)
