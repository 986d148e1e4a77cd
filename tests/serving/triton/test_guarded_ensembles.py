"""A server that guards codes: its pictures are those of the engines in one process, and it tells how far codes lay."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from tiny_models import TinyModels, with_code_spread
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.grpc.model_config_pb2 import ModelConfig

from engines.contract.errors import ModelDirectoryError, RequestError
from engines.matching import MAPPING
from serving.client import AsyncToonifyClient, ToonifyClient
from serving.code_spread import CODE_SPREAD
from serving.controls import Style
from serving.served_toonifier import ServedToonifier
from serving.toonifier import EngineToonifier
from serving.triton.contents import check_models_too
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

FACES = np.random.default_rng(5).integers(0, 256, (11, 256, 256, 3), np.uint8)
FACES[[2, 7], :8, :16] = 0
FAR = [number in (2, 7) for number in range(11)]
FACES[3, :8, :16] = 130
STYLES = {"default": Style(), "edit": Style({"age": 1.0}, seed=3), "live": Style(model="live", r_swap=16)}


@pytest.fixture(scope="module")
def encoder(tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_code_spread(tiny_model_directories.encoder, tmp_path_factory.mktemp("guarded") / "encoder")


@pytest.fixture(scope="module")
def generators(tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("generators")
    for directory in (tiny_model_directories.generators["plain"], tiny_model_directories.live):
        shutil.copytree(directory, folder / directory.name, ignore=shutil.ignore_patterns(MAPPING))
    return [folder / "plain", folder / "live"]


def written(folder: Path, models: TinyModels, encoder: Path, generators: list[Path], *, guard: bool = True) -> Path:
    parts = {"encoder": encoder, "generators": generators, "isf": models.isf, "classifier": models.classifier}
    write_repository(folder / "repository", guard=guard, **parts)
    return folder / "repository"


@pytest.fixture(scope="module")
def repository(
    tiny_model_directories: TinyModels, encoder: Path, generators: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return written(tmp_path_factory.mktemp("repository"), tiny_model_directories, encoder, generators)


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    log = repository.with_name("server.log")
    with TritonServer(repository, log=log, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def engines(tiny_model_directories: TinyModels, encoder: Path, generators: list[Path]) -> Iterator[EngineToonifier]:
    models = tiny_model_directories
    with EngineToonifier(encoder, generators, models.isf, classifier=models.classifier) as toonifier:
        yield toonifier


@pytest.mark.triton
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_the_server_guards_as_the_engines_do_bit_for_bit(
    server: TritonServer, engines: EngineToonifier, style: Style
) -> None:
    expected, distances = engines.toonify_with_distance(FACES, style)
    assert distances is not None
    assert (distances > 1).tolist() == FAR
    with ServedToonifier(ToonifyClient(server.url)) as served:
        np.testing.assert_array_equal(served.toonify(FACES, style), expected)
        pictures, told = served.toonify_with_distance(FACES, style)
        np.testing.assert_array_equal(pictures, expected)
        np.testing.assert_array_equal(told, distances)
        np.testing.assert_array_equal(served.encode(FACES), engines.encode(FACES))


@pytest.mark.triton
def test_a_client_may_keep_far_codes(
    server: TritonServer, tiny_model_directories: TinyModels, encoder: Path, generators: list[Path]
) -> None:
    style = Style({"age": 1.0}, seed=3)
    models = tiny_model_directories
    with EngineToonifier(encoder, generators, models.isf, classifier=models.classifier, guard=False) as free:
        expected = free.toonify(FACES, style)
    with ServedToonifier(ToonifyClient(server.url), guard=False) as served:
        np.testing.assert_array_equal(served.toonify(FACES, style), expected)
        assert served.toonify_with_distance(FACES, style)[1] is None


@pytest.mark.triton
def test_jpegs_on_the_wire_are_guarded_too(server: TritonServer) -> None:
    black = np.zeros((1, 256, 256, 3), np.uint8)
    with ServedToonifier(ToonifyClient(server.url), jpeg=True) as small:
        pictures, distances = small.toonify_with_distance(black, Style())
        assert distances is None
    with ServedToonifier(ToonifyClient(server.url)) as served:
        assert np.abs(pictures.astype(int) - served.toonify(black, Style())).max() <= 3
        assert served.toonify(black, Style()).min() > 0, "a black face's code is not pulled in"


@pytest.mark.triton
@pytest.mark.parametrize("names", [["w"], ["code_distance"], ["code_distance", "w"], []])
def test_a_request_may_name_any_of_the_outputs(server: TritonServer, names: list[str]) -> None:
    with InferenceServerClient(server.url) as client:
        face = InferInput("face", [1, 256, 256, 3], "UINT8").set_data_from_numpy(FACES[2:3])
        answer = client.infer("encode", [face], outputs=[InferRequestedOutput(name) for name in names] or None)
        outputs = {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}
        assert sorted(outputs) == sorted(names or ["w", "code_distance"])
        if "code_distance" in outputs:
            np.testing.assert_allclose(outputs["code_distance"], [[4 / 3]], rtol=1e-6)


@pytest.mark.triton
def test_clients_tell_how_far_out_codes_lay(server: TritonServer, engines: EngineToonifier) -> None:
    async def measured() -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        async with AsyncToonifyClient(server.url) as client:
            return await client.encode_with_distance(FACES[2])

    with ToonifyClient(server.url) as client:
        assert client.describe("toonify").encode == "encode"
        assert client.models() == ("toonify", "toonify_live", "toonify_plain")
        w, distances = client.encode_with_distance(FACES)
        expected_w, expected = engines.encode_with_distance(FACES)
        np.testing.assert_array_equal(w, expected_w)
        np.testing.assert_array_equal(distances, expected)
        assert np.linalg.norm(client.encode(FACES)[2, 0]) == 4, "the model encoder gives codes as they are"
    single, distance = asyncio.run(measured())
    np.testing.assert_array_equal(single, w[2:3])
    assert distance is not None
    assert distances is not None
    assert distance.tolist() == distances[2:3].tolist()


@pytest.mark.triton
def test_a_server_without_the_spread_pulls_nothing_in(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        assert not client.describe("toonify").encode
        w, distances = client.encode_with_distance(FACES)
        assert distances is None
        np.testing.assert_array_equal(w, client.encode(FACES))


def configs(repository: Path) -> dict[str, ModelConfig]:
    paths = repository.glob("*/config.pbtxt")
    return {path.parent.name: text_format.Parse(path.read_text(), ModelConfig()) for path in paths}


def test_the_spread_lies_beside_each_model_that_guards_and_is_hashed(repository: Path) -> None:
    assert {path.parts[-3] for path in repository.rglob(CODE_SPREAD)} == {"encoder", "condition", "condition_live"}
    check_models_too(repository)


def test_every_tensor_of_the_ensembles_has_one_source_and_a_use(repository: Path) -> None:
    for config in configs(repository).values():
        if config.platform == "ensemble":
            steps = config.ensemble_scheduling.step
            sources = [tensor.name for tensor in config.input] + [name for s in steps for name in s.output_map.values()]
            uses = {name for s in steps for name in s.input_map.values()} | {tensor.name for tensor in config.output}
            assert len(sources) == len(set(sources))
            assert set(sources) == uses
            # Triton answers "unexpected deadlock" to a request for only some of the outputs of several steps.
            assert {tensor.name for tensor in config.output} <= {*steps[-1].output_map.values()}


@pytest.mark.parametrize("how", ["older", "off"])
def test_without_a_spread_or_with_no_guard_a_repository_is_as_before(
    tiny_model_directories: TinyModels, encoder: Path, generators: list[Path], tmp_path: Path, how: str
) -> None:
    own = tiny_model_directories.encoder if how == "older" else encoder
    found = configs(written(tmp_path, tiny_model_directories, own, generators, guard=how != "off"))
    assert "encode" not in found
    assert {tensor.name for tensor in found["condition"].output} == {
        *("attributes_filled", "z_filled", "row_strength_filled", "psi_filled")
    }
    assert "encode" not in found["toonify"].parameters
    assert not [*tmp_path.glob(f"repository/condition*/1/{CODE_SPREAD}")]


def test_a_damaged_spread_is_refused_before_anything_is_written(
    tiny_model_directories: TinyModels, encoder: Path, generators: list[Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "encoder"))
    (copy / CODE_SPREAD).write_bytes(b"")
    with pytest.raises(ModelDirectoryError, match=CODE_SPREAD):
        written(tmp_path, tiny_model_directories, copy, generators)
    assert not (tmp_path / "repository").exists()


def test_jpeg_without_the_guard_is_refused() -> None:
    with pytest.raises(RequestError, match="JPEG on the wire: got codes to be kept however far out they lie, expected"):
        ServedToonifier(ToonifyClient("localhost:1"), jpeg=True, guard=False)
