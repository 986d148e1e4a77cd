"""Directions from files to edits: the command, the pipeline, the repository, and what tells their ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export_command import Command
from google.protobuf import text_format
from tiny_models import TinyModels, expected_pictures
from tritonclient.grpc.model_config_pb2 import ModelConfig

from engines.contract.attributes import AttributeRange
from engines.contract.errors import RequestError
from engines.model_directory import read_manifest
from serving.back_end import BackEnd
from serving.client.calls import face_calls, filled_inputs, served_model_from_config
from serving.controls import Style
from serving.studio.catalogue import catalogue_of
from serving.toonifier import EngineToonifier

FACES = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
SMILE = np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32)
AGE = np.random.default_rng(2).standard_normal((1, 16)).astype(np.float32)
RANGES = dict.fromkeys(("smile", "age"), AttributeRange(-2.0, 2.0, 0.0))


@pytest.fixture
def directions(command: Command, tmp_path: Path) -> Path:
    """A head of a direction in W+, of which three rows are used, and one in W, for the tiny models."""
    np.save(tmp_path / "smile.npy", SMILE)
    np.save(tmp_path / "age.npy", AGE)
    files = ["smile.npy:2-4", "age.npy"]
    code, out, _ = command("directions", *files, "--limit", 2, "--scale", 0.1, "--engine", "onnxruntime")
    assert code == 0
    assert "isf directions, onnxruntime fp32, verified" in out
    return tmp_path / "build/directions"


def shift(smile: float = 0, age: float = 0) -> np.ndarray:
    """What the head adds to a code."""
    kept = np.zeros((8, 1), np.float32)
    kept[2:5] = 1
    return 0.1 * (smile * kept * SMILE + age * AGE)


def test_the_manifest_tells_names_ranges_and_files(directions: Path) -> None:
    manifest = read_manifest(directions)
    assert (manifest.component, manifest.ranges) == ("isf", RANGES)
    assert [source.file for source in manifest.sources] == ["smile.npy", "age.npy"]
    assert manifest.sizes.geometry.rows == 8


def test_a_value_adds_as_often_the_direction_and_what_is_not_named_stays(
    directions: Path, tiny_model_directories: TinyModels
) -> None:
    tiny = tiny_model_directories
    with EngineToonifier(tiny.encoder, [tiny.generators["plain"]], directions) as toonifier:

        def pictures(**attributes: float) -> np.ndarray:
            return toonifier.toonify(FACES, Style(attributes or None))

        np.testing.assert_array_equal(pictures(), expected_pictures(FACES))
        for values in ({"smile": 1.5}, {"age": -2.0}, {"smile": -1.0, "age": 0.5}):
            got, expected = pictures(**values), expected_pictures(FACES, shift=shift(**values))
            # The code is rounded in another order: a level may fall on the other side.
            assert np.abs(got.astype(int) - expected).max() <= 1
            assert (got != expected).mean() < 0.01
        np.testing.assert_array_equal(pictures(smile=0.0), pictures())
        half = toonifier.toonify(FACES, Style({"age": 2.0}, strength=0.5, seed=9))
        np.testing.assert_array_equal(half, pictures(age=1.0))
        with pytest.raises(RequestError, match=r"attribute 'age': got 2.5, expected a number within -2..2; correct"):
            pictures(age=2.5)
        for kept in ({"age": 1.0}, {"age": 0.0}):
            with pytest.raises(RequestError, match="control 'keep': got a head of directions, expected an ISF head"):
                toonifier.toonify(FACES, Style({"smile": 1.0}, keep=kept))
        with pytest.raises(RequestError, match="'nose': got no attribute of the model, expected one of smile, age"):
            pictures(nose=1.0)


def test_a_repository_serves_them_and_its_clients_know_the_ranges(
    command: Command, directions: Path, tiny_model_directories: TinyModels
) -> None:
    tiny = tiny_model_directories
    models = ["--encoder", tiny.encoder, "--generator", tiny.generators["plain"], "--isf", directions]
    assert command("repository", *models, "--output", "served")[0] == 0
    config = ModelConfig()
    text_format.Parse(Path("served/toonify/config.pbtxt").read_text(), config)
    served = served_model_from_config(config)
    assert served.attribute_ranges == RANGES
    assert "z" not in [spec.name for spec in served.signature.inputs]
    (call,) = face_calls(served, FACES, {"attributes": {"smile": 1}, "seed": 3})
    np.testing.assert_array_equal(call.inputs["attributes"], [[1, np.nan], [1, np.nan]])
    filled = filled_inputs(served, np.zeros((1, 8, 16), np.float32), {"attributes": {"age": -2}})
    np.testing.assert_array_equal(filled["attributes"], [[0, -2]])
    with pytest.raises(RequestError, match=r"attribute 'smile': got 3, expected a number within -2..2"):
        filled_inputs(served, np.zeros((1, 8, 16), np.float32), {"attributes": {"smile": 3}})
    condition = Path("served/condition/config.pbtxt").read_text()
    assert 'string_value: "smile:-2.0:2.0:0.0,age:-2.0:2.0:0.0"' in condition
    code, _, err = command("repository", *models, "--classifier", tiny.classifier, "--output", "other")
    assert code == 1
    assert "got a classifier beside a head of directions" in err


def test_edits_by_directions_are_not_measured(
    command: Command, directions: Path, tiny_model_directories: TinyModels
) -> None:
    code, _, err = command("measure", "--generator", tiny_model_directories.generators["plain"], "--isf", directions)
    assert code == 1
    assert "got a head of directions, expected an ISF head" in err


def test_the_studio_is_told_the_ranges(directions: Path, tiny_model_directories: TinyModels) -> None:
    tiny = tiny_model_directories
    plain = tiny.generators["plain"]
    assert catalogue_of(BackEnd(encoder=tiny.encoder, generators=[plain], isf=directions)).ranges == RANGES
    assert catalogue_of(BackEnd(encoder=tiny.encoder, generators=[plain], isf=tiny.isf)).ranges == {}


def test_a_resolution_that_no_generator_has_is_refused(command: Command) -> None:
    for arguments in (["directions", "age.npy"], ["isf"]):
        code, _, err = command(*arguments, "--resolution", 1000)
        assert code == 1
        assert "--resolution: got 1000, expected a power of two" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--limit", "inf"), "--limit: got inf"),
        (("--scale", "nan"), "numbers that are not finite, by its rows and the scale nan"),
        (("--scale", "1e300"), "by its rows and the scale 1e+300"),
        (("--scale", 0), "got one of nothing but zeros"),
    ],
)
def test_numbers_by_which_no_edit_is_left_are_refused(
    command: Command, tmp_path: Path, options: tuple[object, ...], sentence: str
) -> None:
    np.save(tmp_path / "age.npy", AGE)
    code, _, err = command("directions", "age.npy", *options)
    assert code == 1
    assert sentence in err
    assert not (tmp_path / "build").exists()
