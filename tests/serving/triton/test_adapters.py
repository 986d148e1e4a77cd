"""The code behind model.py with a fake of Triton's side: batching, and errors that affect only their own request."""

from __future__ import annotations

import importlib
import json
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_triton_backend as fake
import numpy as np
import pytest
from google.protobuf import json_format
from tiny_models import ISF_SIZES, SIZES, TinyModels, expected_pictures

from engines import Engine, engine_from_directory, loading
from engines.contract.attributes import AttributeRange, range_parameters
from engines.contract.errors import ModelDirectoryError
from engines.contract.tensors import (
    Geometry,
    condition_signature,
    decode_face_signature,
    encode_picture_signature,
    generator_signature,
)
from engines.engine import BaseEngine
from serving.faces.jpeg import jpeg_from_picture
from serving.triton.model_configurations import ModelConfig, engine_config, python_config

FACE = np.random.default_rng(2).integers(0, 256, (1, 256, 256, 3), np.uint8)
PSI = np.ones((1, 1), np.float32)


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """serving.triton.adapters, imported as in a process of Triton's python backend."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    monkeypatch.setattr(fake.Logger, "errors", [])
    yield importlib.import_module("serving.triton.adapters")
    del sys.modules["serving.triton.adapters"]


def arguments(config: ModelConfig, repository: Path = Path()) -> dict[str, str]:
    """Return the arguments that Triton passes to ``initialize``."""
    text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
    return {
        "model_config": text,
        "model_name": config.name,
        "model_repository": str(repository),
        "model_version": "1",
    }


@pytest.fixture
def generator(adapters: ModuleType, tiny_model_directories: TinyModels, tmp_path: Path) -> Iterator[Any]:
    """Make an EngineModel of the generator "plain", loaded as from a repository."""
    shutil.copytree(tiny_model_directories.generators["plain"], tmp_path / "1")
    model = adapters.EngineModel()
    signature = generator_signature(SIZES.geometry)
    model.initialize(arguments(engine_config("generator_plain", "generator", signature, "cpu"), tmp_path))
    yield model
    model.finalize()


def codes(*levels: float) -> np.ndarray:
    """Return one constant w per level, of which the generator makes constant pictures."""
    return np.stack([np.full((8, 16), level, np.float32) for level in levels])


def pictures_of(*levels: float) -> np.ndarray:
    return np.stack([np.full((32, 32, 3), int(127.5 * level + 128), np.uint8) for level in levels])


def test_requests_of_one_batch_run_together_and_get_their_own_pictures(generator: Any) -> None:
    runs = []
    run = generator.engine.run
    generator.engine.run = lambda inputs: runs.append(len(inputs["w"])) or run(inputs)
    requests = [
        fake.InferenceRequest(w=codes(0.5), psi=PSI),
        fake.InferenceRequest(w=codes(-0.5, 0.25), psi=np.ones((2, 1), np.float32)),
    ]
    first, second = generator.execute(requests)
    assert np.array_equal(first.outputs["image"], pictures_of(0.5))
    assert np.array_equal(second.outputs["image"], pictures_of(-0.5, 0.25))
    assert runs == [3]


def test_compiled_models_are_kept_where_the_server_says(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = []

    def load(directory: Path, *, cache: Path | None) -> Engine:
        caches.append(cache)
        return engine_from_directory(directory, cache=cache)

    monkeypatch.setattr(loading, "engine_from_directory", load)
    monkeypatch.setenv(loading.CACHE_VARIABLE, str(tmp_path / "cache"))
    request.getfixturevalue("generator")
    assert caches == [tmp_path / "cache"]


def test_compiled_models_may_be_larger_than_the_server_lets_files_be(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setenv(loading.CACHE_VARIABLE, str(tmp_path / "cache"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**27, hard))
    try:
        request.getfixturevalue("generator")
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_latent_that_is_not_finite_fails_alone(generator: Any) -> None:
    requests = [fake.InferenceRequest(w=codes(level), psi=PSI) for level in (0.5, np.nan, 0.25)]
    good, bad, other = generator.execute(requests)
    assert np.array_equal(good.outputs["image"], pictures_of(0.5))
    assert np.array_equal(other.outputs["image"], pictures_of(0.25))
    assert bad.error.code == fake.TritonError.INVALID_ARG
    assert bad.error.message.startswith("tensor 'w': got a value that is NaN or infinite, expected finite numbers")


def test_a_batch_of_bad_requests_only_is_not_run(generator: Any) -> None:
    responses = generator.execute([fake.InferenceRequest(psi=PSI), fake.InferenceRequest(w=codes(np.inf), psi=PSI)])
    assert [response.error.code for response in responses] == [fake.TritonError.INVALID_ARG] * 2


def test_what_nobody_foresaw_is_logged_and_not_told(generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: BaseEngine, inputs: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(type(generator.engine), "run", fail)
    (response,) = generator.execute([fake.InferenceRequest(w=codes(0), psi=PSI)])
    assert response.error.code == fake.TritonError.INTERNAL
    assert response.error.message == "generator_plain: an unexpected error; see the server's log"
    assert "RuntimeError: secret /path" in fake.Logger.errors[0]


def test_a_configuration_of_another_model_is_refused_at_load(
    adapters: ModuleType, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_directories.encoder, tmp_path / "1")
    config = engine_config("generator_plain", "generator", generator_signature(SIZES.geometry), "cpu")
    with pytest.raises(ModelDirectoryError, match=r"got face uint8 .*, expected w float32 .* as in the model's conf"):
        adapters.EngineModel().initialize(arguments(config, tmp_path))


def test_condition_fills_the_defaults_of_each_request(adapters: ModuleType) -> None:
    model = adapters.ConditionModel()
    model.initialize(arguments(python_config("condition", condition_signature(ISF_SIZES.geometry))))
    plain, edited, bad = model.execute(
        [
            fake.InferenceRequest(w=codes(0)),
            fake.InferenceRequest(w=codes(0), attributes=np.ones((1, 2), np.float32)),
            fake.InferenceRequest(attributes=np.ones((1, 2), np.float32)),
        ]
    )
    assert not plain.outputs["row_strength_filled"].any()
    assert edited.outputs["row_strength_filled"].all()
    assert bad.error.message.startswith("request: got the tensors ['attributes'], expected ['w']")


def test_condition_knows_the_ranges_of_directions(adapters: ModuleType) -> None:
    ranges = {"age": AttributeRange(-2.0, 2.0, 0.0), "smile": AttributeRange(-1.0, 5.0, 0.5)}
    signature = condition_signature(Geometry(32, 16, ("age", "smile"), noise_size=0))
    model = adapters.ConditionModel()
    model.initialize(arguments(python_config("condition", signature, range_parameters(ranges))))
    named, outside = model.execute(
        [
            fake.InferenceRequest(w=codes(0), attributes=np.float32([[1.5, np.nan]]), seed=np.int64([[3]])),
            fake.InferenceRequest(w=codes(0), attributes=np.float32([[0, -1.5]])),
        ]
    )
    assert named.outputs["attributes_filled"].tolist() == [[1.5, 0.5]]
    assert "z_filled" not in named.outputs
    assert outside.error.message.startswith("attribute 'smile': got -1.5, expected a number within -1..5")


def test_a_broken_jpeg_fails_alone(adapters: ModuleType) -> None:
    model = adapters.DecodeFaceModel()
    model.initialize(arguments(python_config("decode_face", decode_face_signature())))
    jpegs = [np.array([[data]], dtype=object) for data in (jpeg_from_picture(FACE[0]), b"", b"garbage")]
    good, *bad = model.execute([fake.InferenceRequest(jpeg=jpeg) for jpeg in jpegs])
    assert good.outputs["face"].shape == (1, 256, 256, 3)
    assert [response.error.code for response in bad] == [fake.TritonError.INVALID_ARG] * 2


def test_every_picture_of_a_request_becomes_a_jpeg(adapters: ModuleType) -> None:
    model = adapters.EncodePictureModel()
    model.initialize(arguments(python_config("encode_picture", encode_picture_signature(Geometry(32, 16)))))
    pictures = expected_pictures(np.repeat(FACE, 2, axis=0))
    (response,) = model.execute([fake.InferenceRequest(image=pictures)])
    assert response.outputs["image_jpeg"].tolist() == [[jpeg_from_picture(picture)] for picture in pictures]


@pytest.mark.parametrize("size", [(0, 0), (0, 32), (1, 70_000)])
def test_a_picture_of_another_size_is_refused_without_a_word_in_the_log(
    adapters: ModuleType, size: tuple[int, int]
) -> None:
    model = adapters.EncodePictureModel()
    model.initialize(arguments(python_config("encode_picture_32", encode_picture_signature(Geometry(32, 16)))))
    (response,) = model.execute([fake.InferenceRequest(image=np.zeros((1, *size, 3), np.uint8))])
    assert response.error.code == fake.TritonError.INVALID_ARG
    assert response.error.message.startswith(f"tensor 'image': got uint8 [1, {size[0]}, {size[1]}, 3]")
    assert fake.Logger.errors == []


def test_requests_without_a_picture_are_refused_without_a_word_in_the_log(adapters: ModuleType) -> None:
    models = {
        "decode_face": (adapters.DecodeFaceModel(), decode_face_signature(), {"jpeg": np.empty((0, 1), object)}),
        "encode_picture_32": (
            adapters.EncodePictureModel(),
            encode_picture_signature(Geometry(32, 16)),
            {"image": np.zeros((0, 32, 32, 3), np.uint8)},
        ),
    }
    for name, (model, signature, tensors) in models.items():
        model.initialize(arguments(python_config(name, signature)))
        (response,) = model.execute([fake.InferenceRequest(**tensors)])
        assert response.error.code == fake.TritonError.INVALID_ARG
    assert fake.Logger.errors == []
