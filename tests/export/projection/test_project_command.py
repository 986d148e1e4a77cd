"""``toonify-export project``: from a picture file to a file of its code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from export_command import Command
from generators import random_generator

from export.checkpoints import write_generator_safetensors
from export.demo_face import demo_face, demo_photograph
from serving.code_files import read_codes
from serving.face_finder import aligned_face
from serving.faces.alignment import align
from serving.faces.images import write_picture

PHOTO, POINTS = demo_photograph()


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    write_generator_safetensors(random_generator(32, 4), tmp_path / "generator.safetensors")
    return tmp_path / "generator.safetensors"


def test_a_crop_becomes_a_file_of_its_code(command: Command, tmp_path: Path, generator: Path) -> None:
    write_picture(tmp_path / "face.png", demo_face())
    output = tmp_path / "face.npz"
    options = ("--generator", generator, "--align", "none", "--steps", 21, "--json")
    code, printed, progress = command("project", tmp_path / "face.png", "-o", output, *options)
    assert code == 0
    fields = json.loads(printed)
    assert (fields["output"], fields["steps"]) == (str(output), 21)
    assert fields["psnr"] > fields["start_psnr"]
    assert "step 20: " in progress
    assert read_codes(output).shape == (1, 8, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.npz", "face.png", "generator.safetensors"]


@pytest.mark.parametrize(
    ("output", "options", "sentence"),
    [
        ("face.png", (), "face.png: got the suffix '.png', expected .npz"),
        ("there.npz", (), "already there"),
        ("new.npz", ("--resume",), "no file of an interrupted search"),
        ("half.npz", (), "half.npz.progress: got the file of an interrupted search, expected none, where a new search"),
        ("new.npz", ("--kind", "psp"), "--kind psp: got no encoder, expected one; give --encoder, or leave --kind psp"),
        ("new.npz", ("--start", "encoder"), "--start encoder: got no encoder"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, tmp_path: Path, generator: Path, output: str, options: tuple[str, ...], sentence: str
) -> None:
    write_picture(tmp_path / "picture.png", demo_face())
    (tmp_path / "there.npz").write_bytes(b"mine")
    (tmp_path / "half.npz.progress").write_bytes(b"hours of work")
    common = ("--generator", generator, "--align", "none", "--steps", 1)
    code, _, error = command("project", tmp_path / "picture.png", "-o", tmp_path / output, *common, *options)
    assert code == 1
    assert sentence in error
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
    assert (tmp_path / "half.npz.progress").read_bytes() == b"hours of work"
    assert not (tmp_path / "new.npz").exists()


def test_the_face_of_a_photograph_is_aligned_as_for_toonify_image(tmp_path: Path) -> None:
    record = {"picture": "photo.png", "faces": [{"points": POINTS.tolist()}]}
    (tmp_path / "landmarks.json").write_text(json.dumps([record]))
    face = aligned_face(PHOTO, f"file:{tmp_path / 'landmarks.json'}", "photo.png")
    np.testing.assert_array_equal(face, align(PHOTO, POINTS)[0])
    np.testing.assert_array_equal(aligned_face(demo_face(), "none", "face.png"), demo_face())
