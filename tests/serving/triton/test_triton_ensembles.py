"""Ensembles on a real server compared with the in-process pipeline, and bad requests, which must not harm it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from colour_profiles import DISPLAY_P3, jpeg_with_profile, rgb_profile
from picture_weapons import jpeg_of_scans, jpeg_that_hides_its_size
from tiny_models import DEFAULT_BLEND, GAINS, TinyModels, expected_samples, gain_of_blend
from triton_requests import Tensors, picture, refusal, send
from tritonclient.grpc import InferenceServerClient

from engines.contract.arrays import AnyArray
from serving.faces.jpeg import MAX_BYTES, face_from_jpeg, jpeg_from_picture
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACES = np.random.default_rng(3).integers(0, 256, (4, 256, 256, 3), np.uint8)
ATTRIBUTES = np.array([[0, 1], [1, 1], [0.5, -1], [0, 0]], np.float32)
SEEDS = np.array([[3], [1], [4], [1]])
PSI = np.array([[1], [0.5], [0.7], [1.5]], np.float32)
STRENGTH = np.linspace(0, 1, 32, dtype=np.float32).reshape(4, 8)
LATENTS = np.ones((1, 8, 16), np.float32)
Z = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
JPEG = jpeg_from_picture(np.tile(np.arange(256, dtype=np.uint8)[:, None], (256, 1, 3)) // np.uint8([1, 2, 3]))


@pytest.fixture
def client(triton_server: TritonServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton_server.url) as client:
        yield client


def jpegs(*files: bytes) -> AnyArray:
    return np.array(files, dtype=object)[:, None]


@pytest.mark.parametrize("generator", GAINS)
@pytest.mark.parametrize(
    "controls",
    [
        {},
        {"psi": PSI},
        {"attributes": ATTRIBUTES},
        {"attributes": ATTRIBUTES, "seed": SEEDS, "psi": PSI},
        {"attributes": ATTRIBUTES, "z": Z, "row_strength": STRENGTH},
    ],
    ids=lambda controls: "+".join(controls) or "none",
)
def test_an_ensemble_equals_the_pipeline_bit_for_bit(
    client: InferenceServerClient, tiny_model_directories: TinyModels, generator: str, controls: Tensors
) -> None:
    served = picture(client, f"toonify_{generator}", face=FACES, **controls)
    assert np.array_equal(served, tiny_model_directories.pipeline(generator).run(FACES, **controls))


def test_the_default_ensemble_is_the_first_generator(client: InferenceServerClient) -> None:
    assert np.array_equal(picture(client, "toonify", face=FACES), picture(client, "toonify_plain", face=FACES))


def test_a_batch_equals_its_rows_one_by_one(client: InferenceServerClient) -> None:
    batch = picture(client, "toonify", face=FACES, attributes=ATTRIBUTES, seed=SEEDS)
    rows = [slice(i, i + 1) for i in range(4)]
    singles = [picture(client, "toonify", face=FACES[r], attributes=ATTRIBUTES[r], seed=SEEDS[r]) for r in rows]
    assert np.array_equal(batch, np.concatenate(singles))


def test_zero_strength_equals_no_isf(client: InferenceServerClient) -> None:
    zero = np.zeros((4, 8), np.float32)
    edited = picture(client, "toonify", face=FACES, attributes=ATTRIBUTES, row_strength=zero)
    assert np.array_equal(edited, picture(client, "toonify", face=FACES))


def test_requests_with_and_without_attributes_may_come_together(
    client: InferenceServerClient, tiny_model_directories: TinyModels
) -> None:
    requests: list[Tensors] = [{"face": FACES[i % 4 :][:1]} for i in range(24)]
    for i in range(0, 24, 2):
        requests[i]["attributes"] = ATTRIBUTES[i % 4 :][:1]
    pipeline = tiny_model_directories.pipeline()
    for request, answer in zip(requests, send(client, "toonify", requests), strict=True):
        assert np.array_equal(answer.result(), pipeline.run(**request))


def test_the_jpeg_ensemble_is_the_raw_one_between_jpegs(
    client: InferenceServerClient, tiny_model_directories: TinyModels
) -> None:
    wide = jpeg_with_profile(JPEG, rgb_profile(DISPLAY_P3))
    answer = picture(client, "toonify_inverse_jpeg", jpeg=jpegs(JPEG, wide), psi=PSI[:2])
    faces = np.stack([face_from_jpeg(JPEG), face_from_jpeg(wide)])
    pictures = tiny_model_directories.pipeline("inverse").run(faces, psi=PSI[:2])
    assert answer.tolist() == [[jpeg_from_picture(picture)] for picture in pictures]


@pytest.mark.parametrize("generator", GAINS)
def test_a_seed_is_the_face_that_it_is_in_one_process(client: InferenceServerClient, generator: str) -> None:
    expected = expected_samples([3, 1, 4, 1], gain=GAINS[generator])
    assert np.array_equal(picture(client, f"sample_{generator}", seed=SEEDS), expected)
    for seed, face in zip(SEEDS, expected, strict=True):
        assert np.array_equal(picture(client, f"sample_{generator}", seed=seed[None])[0], face)


def test_a_face_is_drawn_from_z_and_truncated(client: InferenceServerClient) -> None:
    z = np.stack([np.random.default_rng(seed).standard_normal(16, np.float32) for seed in (3, 1, 4, 1)])
    half = np.full((4, 1), 0.5, np.float32)
    assert np.array_equal(picture(client, "sample_plain", z=z, psi=half), expected_samples([3, 1, 4, 1], psi=0.5))
    assert np.array_equal(picture(client, "sample_plain", psi=half[:1]), expected_samples([0], psi=0.5))


def test_a_live_model_draws_faces_at_its_default_blend_or_another(client: InferenceServerClient) -> None:
    default = expected_samples([3, 1, 4, 1], gain=gain_of_blend(DEFAULT_BLEND))
    assert np.array_equal(picture(client, "sample_live", seed=SEEDS), default)
    blends = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0.5], [1, 0, 0, 0]], np.float32)
    expected = expected_samples([3, 1, 4, 1], gain=gain_of_blend(blends))
    assert np.array_equal(picture(client, "sample_live", seed=SEEDS, blend=blends), expected)


def test_clients_find_the_attributes_names(client: InferenceServerClient) -> None:
    assert client.get_model_config("toonify").config.parameters["attributes"].string_value == "age,smile"


# Triton words its own refusals, and they may change between versions; all refusals of this package contain "got".
BAD_REQUESTS: dict[str, tuple[str, Tensors, str]] = {
    "shape": ("toonify", {"face": FACES[:, :128]}, "unexpected shape for input 'face'"),
    "dtype": ("toonify", {"face": FACES.astype(np.float32)}, "data-type is 'FP32', but model 'toonify' expects"),
    "no row": ("toonify", {"face": FACES[:0]}, "input 'face'"),
    "too many rows": ("toonify", {"face": np.repeat(FACES, 3, 0)}, "batch-size must be <= 8 for 'toonify'"),
    "rows that differ": ("toonify", {"face": FACES, "psi": PSI[:1]}, "batch size does not match"),
    "attribute count": ("toonify", {"face": FACES, "attributes": Z}, "unexpected shape for input 'attributes'"),
    "unknown tensor": ("toonify", {"face": FACES, "style": PSI}, "unexpected inference input 'style'"),
    "no face": ("toonify", {"psi": PSI}, "toonify"),
    "nan psi": ("toonify", {"face": FACES, "psi": PSI * np.nan}, "tensor 'psi': got a value that is NaN"),
    "inf z": ("toonify", {"face": FACES, "z": Z * np.float32(np.inf)}, "tensor 'z': got a value that is NaN"),
    "z and seed": ("toonify", {"face": FACES, "z": Z, "seed": SEEDS}, "request: got both 'z' and 'seed'"),
    "strength alone": ("toonify", {"face": FACES, "row_strength": STRENGTH}, "got 'row_strength' without 'attributes'"),
    "negative seed": ("toonify", {"face": FACES, "seed": -SEEDS}, "tensor 'seed': got -3, expected 0 or more"),
    "nan latents": ("generator_plain", {"w": LATENTS * np.nan, "psi": PSI[:1]}, "tensor 'w': got a value that is NaN"),
    "no latents": ("generator_plain", {"psi": PSI}, r"missing required input\(s\) \['w'\]"),
    "z and seed of a face": (
        "sample_plain",
        {"z": LATENTS[:, 0], "seed": SEEDS[:1]},
        "request: got both 'z' and 'seed'",
    ),
    "negative seed of a face": ("sample_plain", {"seed": -SEEDS}, "tensor 'seed': got -3, expected 0 or more"),
    "inf psi of a face": ("sample_plain", {"psi": PSI * np.inf}, "tensor 'psi': got a value that is NaN"),
    "empty jpeg": ("toonify_jpeg", {"jpeg": jpegs(b"")}, "tensor 'jpeg': got no bytes"),
    "garbage jpeg": ("toonify_jpeg", {"jpeg": jpegs(b"garbage")}, "tensor 'jpeg': got bytes that are not a JPEG"),
    "cut jpeg": ("toonify_jpeg", {"jpeg": jpegs(JPEG[:-9])}, "tensor 'jpeg': got a JPEG that ends early"),
    "one of two": ("toonify_jpeg", {"jpeg": jpegs(JPEG, b"")}, "tensor 'jpeg': got no bytes"),
    "jpeg of many scans": (
        "toonify_jpeg",
        {"jpeg": jpegs(jpeg_of_scans(20_000, 4096))},
        "tensor 'jpeg': got 20000 scans of 4096x4096 pixels",
    ),
    "jpeg that hides its size": (
        "toonify_jpeg",
        {"jpeg": jpegs(jpeg_that_hides_its_size(26_000))},
        "tensor 'jpeg': got 26000x26000 pixels, expected at most 16777216 pixels",
    ),
    "picture of no pixels": (
        "encode_picture_32",
        {"image": np.zeros((1, 0, 0, 3), np.uint8)},
        "unexpected shape for input 'image'",
    ),
    "huge jpeg": ("toonify_jpeg", {"jpeg": jpegs(JPEG + bytes(MAX_BYTES))}, "got 32.0 MiB, expected at most 32 MiB"),
}


@pytest.mark.parametrize(("model", "tensors", "sentence"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_refused_with_a_sentence_and_harms_nobody(
    client: InferenceServerClient,
    tiny_model_directories: TinyModels,
    model: str,
    tensors: Tensors,
    sentence: str,
) -> None:
    before = send(client, "toonify", [{"face": FACES[:1]}] * 4)
    message = refusal(client, model, **tensors)
    after = send(client, "toonify", [{"face": FACES[:1]}] * 4)
    assert "Traceback" not in message
    assert str(Path(__file__).parents[3]) not in message
    assert re.search(sentence, message)
    expected = tiny_model_directories.pipeline().run(FACES[:1])
    assert all(np.array_equal(answer.result(), expected) for answer in before + after)
