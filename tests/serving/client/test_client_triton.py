"""The clients and the command against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from served_repository import small_repository
from tiny_models import TinyModels, expected_pictures, expected_samples
from toonify_command import Toonify
from tritonclient.grpc import InferenceServerClient

from engines.contract.errors import RequestError
from export.demo_face import demo_photograph
from serving import cli
from serving.client import AsyncToonifyClient, ToonifyClient
from serving.faces.images import picture_from_bytes, read_picture, write_picture
from serving.faces.jpeg import jpeg_from_picture
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACES = np.random.default_rng(0).integers(0, 256, (11, 256, 256, 3), np.uint8)


@pytest.fixture
def client(triton_server: TritonServer) -> Iterator[ToonifyClient]:
    with ToonifyClient(triton_server.url) as client:
        yield client


def test_the_server_describes_its_models(client: ToonifyClient) -> None:
    assert client.is_ready()
    assert client.models() == ("toonify", "toonify_inverse", "toonify_live", "toonify_plain", "toonify_small")
    model = client.describe("toonify_inverse")
    assert (model.resolution, model.rows, model.max_batch) == (32, 8, 8)
    assert model.attributes == ("age", "smile")
    assert model.parameters["generator"] == "inverse"


@pytest.mark.parametrize(("model", "gain"), [("toonify", 1), ("toonify_plain", 1), ("toonify_inverse", -1)])
def test_a_model_is_chosen_by_name(client: ToonifyClient, model: str, gain: float) -> None:
    np.testing.assert_array_equal(client.toonify(FACES[:2], model=model), expected_pictures(FACES[:2], gain=gain))


def test_a_seed_is_a_face_in_any_batch(client: ToonifyClient) -> None:
    seeds = [5, 0, 2**40, *range(8)]
    faces = client.sample(seeds, psi=0.5, model="toonify_inverse")
    np.testing.assert_array_equal(faces, expected_samples(seeds, psi=0.5, gain=-1))
    np.testing.assert_array_equal(client.sample(5, psi=0.5, model="toonify_inverse"), faces[:1])
    np.testing.assert_array_equal(
        client.sample([7, 8], psi=[1, 0]), expected_samples([7, 8], psi=np.array([[[1]], [[0]]]))
    )


def test_the_code_of_a_random_face_is_edited_like_that_of_a_given_one(client: ToonifyClient) -> None:
    w = client.sample_codes([3, 4])
    np.testing.assert_array_equal(client.render(w), client.sample([3, 4]))
    edited = client.render(w, attributes={"age": 1}, exact=True, z=np.zeros(4))
    np.testing.assert_array_equal(edited, expected_samples([3, 4], shift=0.25))


def test_a_client_for_asyncio_draws_the_same_faces(triton_server: TritonServer) -> None:
    async def draw() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        async with AsyncToonifyClient(triton_server.url) as client:
            return await client.sample([1, 2], psi=0.5), await client.sample_codes(1)

    faces, w = asyncio.run(draw())
    np.testing.assert_array_equal(faces, expected_samples([1, 2], psi=0.5))
    assert w.shape == (1, 8, 16)


@pytest.mark.parametrize(
    ("seeds", "model", "sentence"),
    [
        ([-1], "toonify", "tensor 'seed': got -1, expected 0 or more"),
        ([], "toonify", "seeds: got none, expected one whole number below"),
        ([0.5], "toonify", "seeds: got float64"),
        ([1], "toonify_small", "model 'toonify_small': got a generator without a mapping network"),
    ],
)
def test_a_seed_that_stands_for_no_face_is_refused(
    client: ToonifyClient, seeds: list[int], model: str, sentence: str
) -> None:
    for draw in (client.sample, client.sample_codes):
        with pytest.raises(RequestError, match=sentence):
            draw(seeds, model=model)


def test_the_command_draws_the_sheet_of_one_process(
    toonify: Toonify, triton_server: TritonServer, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    options = ["--seeds", "0:5", "--psi", "0.5", "-o"]
    assert toonify("sample", *options, tmp_path / "served.png", "--url", triton_server.url)[0] == 0
    plain = tiny_model_directories.generators["plain"]
    assert toonify("sample", *options, tmp_path / "own.png", "--generator", plain)[0] == 0
    np.testing.assert_array_equal(read_picture(tmp_path / "served.png"), read_picture(tmp_path / "own.png"))


def test_generators_of_several_sizes_are_served_together(client: ToonifyClient) -> None:
    model = client.describe("toonify_small")
    assert (model.resolution, model.rows) == (16, 8)
    strength = np.linspace(0, 1, model.rows)
    edit = {"attributes": {"age": 1}, "exact": True, "z": np.zeros(4), "row_strength": strength}
    pictures = client.toonify(FACES[:2], model="toonify_small", **edit)
    shift = np.float32(0.25) * strength.astype(np.float32)[:, None]
    np.testing.assert_array_equal(pictures, expected_pictures(FACES[:2], shift=shift, side=16))
    jpegs = client.toonify_jpeg(jpeg_from_picture(FACES[0]), model="toonify_small")
    assert picture_from_bytes(jpegs[0], "answer").shape == (16, 16, 3)


def test_controls_reach_the_models_in_batches_beyond_the_largest(client: ToonifyClient) -> None:
    psi = np.linspace(0, 1, len(FACES))
    edit = {"attributes": {"smile": 1}, "exact": True, "z": np.zeros(4), "row_strength": np.full(8, 0.5)}
    pictures = client.toonify(FACES, psi=psi, **edit)
    expected = expected_pictures(FACES, psi=psi[:, None, None].astype(np.float32), shift=0.125)
    np.testing.assert_array_equal(pictures, expected)


def test_what_the_server_refuses_is_one_sentence(client: ToonifyClient) -> None:
    with pytest.raises(RequestError, match="got both 'z' and 'seed', expected one of them or neither") as info:
        client.toonify(FACES[:1], attributes={"age": 1}, z=np.zeros(4), seed=1)
    assert "\n" not in str(info.value)
    with pytest.raises(RequestError, match="unknown model: 'toonify_x' is not found"):
        client.toonify(FACES[:1], model="toonify_x")
    with pytest.raises(RequestError, match="tensor 'jpeg': got bytes that are not a JPEG"):
        client.toonify_jpeg(b"GIF89a")


def test_jpeg_in_and_out(client: ToonifyClient) -> None:
    smooth = cv2.GaussianBlur(FACES[0], (0, 0), 8)
    (answer,) = client.toonify_jpeg(jpeg_from_picture(smooth), seed=3)
    assert picture_from_bytes(answer, "answer").shape == (32, 32, 3)


def regions() -> set[Path]:
    return set(Path("/dev/shm").glob("toonify-*"))


def test_shared_memory_gives_the_same_pictures_and_leaves_nothing(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    repository, before = small_repository(tiny_model_directories, tmp_path), regions()
    with TritonServer(
        repository, log=tmp_path / "log", grpc_port=0, metrics_port=0, allow_shared_memory=True
    ) as triton:
        with ToonifyClient(triton.url, shared_memory=True) as client:
            for _ in range(5):
                np.testing.assert_array_equal(client.toonify(FACES), expected_pictures(FACES))
        assert regions() == before
        with InferenceServerClient(triton.url) as server:
            assert not server.get_system_shared_memory_status().regions


def test_a_server_that_keeps_shared_memory_closed_is_sent_bytes(
    triton_server: TritonServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = regions()
    with ToonifyClient(triton_server.url, shared_memory=True) as client:
        np.testing.assert_array_equal(client.toonify(FACES), expected_pictures(FACES))
    assert "the server keeps it closed, which toonify serve --allow-shared-memory changes" in caplog.text
    assert regions() == before


def test_an_asyncio_client_asks_many_times_at_once(triton_server: TritonServer) -> None:
    async def gathered() -> list[NDArray[np.uint8]]:
        async with AsyncToonifyClient(triton_server.url) as client:
            return await asyncio.gather(*(client.toonify(face) for face in FACES))

    np.testing.assert_array_equal(np.concatenate(asyncio.run(gathered())), expected_pictures(FACES))


@pytest.mark.parametrize("wire", [[], ["--jpeg"]])
def test_the_command_toonifies_a_photograph(
    triton_server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: list[str]
) -> None:
    photo, _ = demo_photograph()
    source, target = tmp_path / "photo.png", tmp_path / "toon.png"
    write_picture(source, photo)
    arguments = [source, "-o", target, "--url", triton_server.url, "--align", "haar", "--attribute", "age=1", *wire]
    monkeypatch.setattr("sys.argv", ["toonify", "image", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    result = read_picture(target)
    assert result.shape == photo.shape
    assert (result != photo).any()
    np.testing.assert_array_equal(result[:40], photo[:40])


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("plain", []),
        ("plain", ["--attribute", "age=1", "--rows", "preset", "--seed", "3", "--psi", "0.5"]),
        ("live", ["--r-swap", "16", "--alpha", "0.5"]),
    ],
)
def test_the_command_gives_the_same_picture_with_and_without_a_server(
    triton_server: TritonServer,
    tiny_model_directories: TinyModels,
    tmp_path: Path,
    toonify: Toonify,
    model: str,
    options: list[str],
) -> None:
    models = tiny_model_directories
    write_picture(tmp_path / "face.png", FACES[0])
    directories = ["--encoder", models.encoder, "--isf", models.isf, "--classifier", models.classifier]
    directories += ["--generator", models.live if model == "live" else models.generators["plain"]]
    server = ["--url", triton_server.url, "--model", f"toonify_{model}"]
    for name, back_end in (("served.png", server), ("here.png", directories)):
        output = tmp_path / name
        assert toonify("image", tmp_path / "face.png", "-o", output, *back_end, *options) == (0, f"{output}\n", "")
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "served.png").read_bytes()
