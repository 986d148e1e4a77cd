"""A live generator on a real server: its blend as a tensor and as a client's argument, and what is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import DEFAULT_BLEND, TinyModels, expected_pictures, expected_samples, gain_of_blend
from triton_requests import Tensors, picture, refusal, send
from tritonclient.grpc import InferenceServerClient

from engines.contract.errors import RequestError
from serving.client import AsyncToonifyClient, ToonifyClient
from serving.controls import GeneratorControls, Style
from serving.faces.jpeg import face_from_jpeg, jpeg_from_picture
from serving.sampler import EngineSampler
from serving.served_toonifier import ServedToonifier
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACES = np.random.default_rng(4).integers(0, 256, (4, 256, 256, 3), np.uint8)
BLENDS = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0.25, 0], [1, 1, 1, 1]], np.float32)
ATTRIBUTES = np.array([[0, 1], [1, 1], [0.5, -1], [0, 0]], np.float32)
CODES = np.zeros((1, 8, 16), np.float32)
PSI = np.ones((1, 1), np.float32)


@pytest.fixture
def client(triton_server: TritonServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton_server.url) as client:
        yield client


@pytest.mark.parametrize(
    "controls",
    [{}, {"blend": BLENDS}, {"blend": BLENDS, "attributes": ATTRIBUTES, "psi": np.full((4, 1), 0.5, np.float32)}],
    ids=lambda controls: "+".join(controls) or "none",
)
def test_an_ensemble_equals_the_pipeline_bit_for_bit(
    client: InferenceServerClient, tiny_model_directories: TinyModels, controls: Tensors
) -> None:
    served = picture(client, "toonify_live", face=FACES, **controls)
    assert np.array_equal(served, tiny_model_directories.pipeline("live").run(FACES, **controls))


def test_the_jpeg_ensemble_takes_a_blend_too(client: InferenceServerClient, tiny_model_directories: TinyModels) -> None:
    jpeg = jpeg_from_picture(FACES[0])
    answer = picture(client, "toonify_live_jpeg", jpeg=np.array([[jpeg]], dtype=object), blend=BLENDS[2:3])
    pictures = tiny_model_directories.pipeline("live").run(face_from_jpeg(jpeg)[None], blend=BLENDS[2:3])
    assert answer.tolist() == [[jpeg_from_picture(pictures[0])]]


def test_a_random_face_is_drawn_with_a_blend(triton_server: TritonServer, tiny_model_directories: TinyModels) -> None:
    with ToonifyClient(triton_server.url) as client, EngineSampler(tiny_model_directories.live) as sampler:
        for controls, shares in (
            (GeneratorControls(), DEFAULT_BLEND),
            (GeneratorControls(psi=0.5, r_swap=16), (1, 1, 1, 0)),
            (GeneratorControls(psi=0.5, r_swap=[32, 2], alpha=0.5), ((0.5, 0.5, 0.5, 0.5), (0, 0, 0, 0))),
        ):
            psi = np.float32(controls.get("psi", 1.0))
            expected = expected_samples([3, 4], psi=psi, gain=gain_of_blend(shares))
            assert np.array_equal(client.sample([3, 4], model="toonify_live", **controls), expected)
            assert np.array_equal(sampler.sample([3, 4], **controls), expected)


def test_a_blend_of_a_random_face_is_refused_where_it_is_fixed(
    triton_server: TritonServer, tiny_model_directories: TinyModels
) -> None:
    plain = tiny_model_directories.generators["plain"]
    with ToonifyClient(triton_server.url) as client, EngineSampler(plain) as sampler:
        with pytest.raises(RequestError, match=r"control 'r_swap': got the model 'toonify_plain', whose blend"):
            client.sample(1, model="toonify_plain", r_swap=16)
        with pytest.raises(RequestError, match=r"control 'r_swap': got the model 'plain', whose blend is fixed"):
            sampler.sample(1, r_swap=16)


BAD_REQUESTS: dict[str, tuple[str, Tensors, str]] = {
    "too few shares": ("toonify_live", {"face": FACES, "blend": BLENDS[:, :3]}, "unexpected shape for input 'blend'"),
    "nan": ("toonify_live", {"face": FACES, "blend": BLENDS * np.nan}, "tensor 'blend': got a value that is NaN"),
    "above 1": ("toonify_live", {"face": FACES, "blend": 2 * BLENDS}, r"tensor 'blend': got the share 2, expected"),
    "below 0": ("toonify_live", {"face": FACES, "blend": -BLENDS}, r"tensor 'blend': got the share -\d.*within 0\.\.1"),
    "no blend": ("generator_live", {"w": CODES, "psi": PSI}, r"missing required input\(s\) \['blend'\]"),
    "above 1 for the generator": (
        "generator_live",
        {"w": CODES, "psi": PSI, "blend": np.full((1, 4), 1.5, np.float32)},
        r"tensor 'blend': got the share 1\.5, expected shares within 0\.\.1",
    ),
    "not live": ("toonify_plain", {"face": FACES, "blend": BLENDS}, "unexpected inference input 'blend'"),
}


@pytest.mark.parametrize(("model", "tensors", "sentence"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_blend_is_refused_with_a_sentence_and_harms_nobody(
    client: InferenceServerClient, model: str, tensors: Tensors, sentence: str
) -> None:
    good = {"face": FACES[:1], "blend": BLENDS[3:]}
    before = send(client, "toonify_live", [good] * 4)
    message = refusal(client, model, **tensors)
    after = send(client, "toonify_live", [good] * 4)
    assert "Traceback" not in message
    assert re.search(sentence, message)
    assert all(np.array_equal(answer.result(), expected_pictures(FACES[:1], gain=-1)) for answer in before + after)


CHOICES: list[tuple[dict[str, Any], tuple[float, ...]]] = [
    ({}, DEFAULT_BLEND),
    ({"r_swap": 16}, (1, 1, 1, 0)),
    ({"r_swap": 16, "alpha": 0.5}, (0.5, 0.5, 0.5, 0)),
    ({"alpha": 0.25}, (0.25, 0.25, 0, 0)),
    ({"blend": (1, 0.5, 0, 0.25)}, (1, 0.5, 0, 0.25)),
]


@pytest.mark.parametrize(("choice", "shares"), CHOICES)
def test_clients_choose_the_blend(
    triton_server: TritonServer, choice: dict[str, Any], shares: tuple[float, ...]
) -> None:
    async def asked() -> NDArray[np.uint8]:
        async with AsyncToonifyClient(triton_server.url) as client:
            return await client.toonify(FACES, model="toonify_live", **choice)

    expected = expected_pictures(FACES, gain=gain_of_blend(shares))
    with ToonifyClient(triton_server.url) as client:
        np.testing.assert_array_equal(client.toonify(FACES, model="toonify_live", **choice), expected)
        np.testing.assert_array_equal(client.render(client.encode(FACES), model="toonify_live", **choice), expected)
    np.testing.assert_array_equal(asyncio.run(asked()), expected)


def test_a_served_style_chooses_the_blend(triton_server: TritonServer) -> None:
    with ServedToonifier(ToonifyClient(triton_server.url)) as toonifier:
        pictures = toonifier.toonify(FACES, Style(model="live", r_swap=32))
    np.testing.assert_array_equal(pictures, expected_pictures(FACES, gain=-1))


def test_a_live_model_tells_its_resolutions_and_its_default(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        live, plain = client.describe("toonify_live"), client.describe("toonify_plain")
    assert (live.blend_resolutions, live.default_blend, live.transferred_models) == (
        (4, 8, 16, 32),
        DEFAULT_BLEND,
        ("transfer",),
    )
    assert (plain.blend_resolutions, plain.default_blend, plain.transferred_models) == ((), (), ())


@pytest.mark.parametrize("choice", [{"r_swap": 16}, {"blend": (1, 0, 0, 0)}, {"alpha": 0.5}])
def test_a_client_refuses_a_blend_for_a_model_that_is_not_live_by_its_name(
    triton_server: TritonServer, choice: dict[str, Any]
) -> None:
    with (
        ToonifyClient(triton_server.url) as client,
        pytest.raises(
            RequestError, match=f"control '{next(iter(choice))}': got the model 'toonify_plain', whose blend"
        ),
    ):
        client.toonify(FACES, model="toonify_plain", **choice)
