"""The life cycle of a real server: start, failures and stop, after which nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from served_repository import make_slow, small_repository
from tiny_models import TinyModels, expected_pictures
from triton_requests import executions, picture, send
from tritonclient.grpc import InferenceServerClient

from benchmarks.chaos.served import wait_until
from engines.contract.errors import ServerError
from serving.triton.ports import is_listening
from serving.triton.process_group import command_line
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACES = np.random.default_rng(4).integers(0, 256, (24, 256, 256, 3), np.uint8)


def server_of(repository: Path) -> TritonServer:
    return TritonServer(repository, log=repository.with_name("log"), grpc_port=0, metrics_port=0)


def processes_of(argument: str) -> list[int]:
    """Return the processes with this in their command lines."""
    processes = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [process for process in processes if any(argument in part for part in command_line(process))]


def assert_nothing_is_left(server: TritonServer) -> None:
    assert not [*Path("/dev/shm").glob(f"{server.shared_memory_prefix}*")]
    assert not processes_of(server.shared_memory_prefix)
    assert not is_listening("127.0.0.1", server.ports["grpc"])


def listening_addresses(port: int) -> set[str]:
    """Return the local addresses that listen on the port, as written in /proc/net/tcp and tcp6."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    local = {line[1] for line in lines if line[3] == "0A"}  # 0A: listening
    return {
        address for address, _, hexadecimal in (name.partition(":") for name in local) if hexadecimal == f"{port:04X}"
    }


# 127.0.0.1 in little-endian words of four bytes, as an IPv4 address and as an IPv4-mapped IPv6 address.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


def test_only_this_machine_can_reach_the_server(triton_server: TritonServer) -> None:
    for port in triton_server.ports.values():
        assert listening_addresses(port) <= LOOPBACK


def test_requests_with_and_without_attributes_and_with_other_blends_share_batches(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    models, repository = tiny_model_directories, tmp_path / "repository"
    write_repository(repository, encoder=models.encoder, isf=models.isf, generators=[models.live])
    make_slow(repository, "generator_live")
    with server_of(repository) as server, InferenceServerClient(server.url) as client:
        requests, batches = executions(client, "generator_live")
        kinds = ({}, {"attributes": np.ones((1, 2), np.float32)}, {"blend": np.ones((1, 4), np.float32)})
        answers = send(client, "toonify", [{"face": face[None]} | kinds[i % 3] for i, face in enumerate(FACES)])
        for answer in answers:
            answer.result()
        now = executions(client, "generator_live")
    assert now[0] - requests == len(FACES)
    assert now[1] - batches <= 6  # 3 full batches of 8, and the batches before the first full one


def test_a_server_told_to_stop_answers_what_it_has_accepted_and_leaves_nothing(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    make_slow(repository)
    with server_of(repository) as server, InferenceServerClient(server.url) as client:
        before, _ = executions(client, "encoder")
        answers = send(client, "toonify", [{"face": face[None]} for face in FACES])
        wait_until(lambda: executions(client, "encoder")[0] > before)  # the others wait before the encoder or after it
        server.stop()
        pictures = [answer.result() for answer in answers]
    assert np.array_equal(np.concatenate(pictures), expected_pictures(FACES))
    assert_nothing_is_left(server)


def test_a_model_that_does_not_load_is_named_with_the_reason(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    (repository / "encoder/1/encoder.onnx").unlink()
    server = server_of(repository)
    sentence = r"got failed to load 'encoder': .*encoder\.onnx: got no such file, expected the file with sha256"
    with pytest.raises(ServerError, match=sentence):
        server.start()
    assert_nothing_is_left(server)


def test_a_taken_port_is_noticed_before_anything_starts(triton_server: TritonServer, tmp_path: Path) -> None:
    server = TritonServer(triton_server.repository, log=tmp_path / "log", grpc_port=triton_server.ports["grpc"])
    with pytest.raises(ServerError, match=r"grpc port \d+ of 127\.0\.0\.1: got Address already in use"):
        server.start()
    assert not (tmp_path / "log").exists()


def test_a_repository_may_lie_in_a_folder_whose_name_a_shell_would_interpret(
    tiny_model_directories: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "it's $(touch pwned) & 50 % `off`"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    repository = small_repository(tiny_model_directories, folder)
    with server_of(repository) as server, InferenceServerClient(server.url) as client:
        assert np.array_equal(picture(client, "toonify", face=FACES[:1]), expected_pictures(FACES[:1]))
    assert not [*tmp_path.rglob("pwned")]
