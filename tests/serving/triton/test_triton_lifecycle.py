"""The life cycle of a real server: start, failures and stop, after which nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TinyModels, expected_pictures
from triton_requests import executions, picture, send
from tritonclient.grpc import InferenceServerClient

from engines.contract.errors import ServerError
from serving.triton.ports import free_ports, is_listening
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACES = np.random.default_rng(4).integers(0, 256, (24, 256, 256, 3), np.uint8)
SLOW_MODEL = """\
import time

from serving.triton.adapters import EngineModel


class TritonPythonModel(EngineModel):
    def execute(self, requests):
        time.sleep(0.3)
        return super().execute(requests)
"""


def small_repository(models: TinyModels, folder: Path) -> Path:
    """A repository with one generator and no ISF head."""
    write_repository(folder / "repository", encoder=models.encoder, generators=[models.generators["plain"]])
    return folder / "repository"


def make_slow(repository: Path) -> None:
    """Make each batch of the generator take 0.3 s, so that requests queue up."""
    (repository / "generator_plain/1/model.py").write_text(SLOW_MODEL)


def server_of(repository: Path) -> TritonServer:
    return TritonServer(repository, log=repository.with_name("log"), grpc_port=0, http_port=0, metrics_port=0)


def processes_of(argument: Path | str) -> list[int]:
    """Return the processes with this in their command lines; a repository's path finds its server and python models."""
    lines = {path.parent.name: _text(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(pid) for pid, line in lines.items() if str(argument) in line]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has just ended
        return ""


def assert_nothing_is_left(server: TritonServer) -> None:
    assert not [*Path("/dev/shm").glob(f"{server.shared_memory_prefix}*")]
    assert not processes_of(server.repository)
    assert not is_listening("127.0.0.1", server.ports["grpc"])


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


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


def test_requests_with_and_without_attributes_share_batches(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    models, repository = tiny_model_directories, tmp_path / "repository"
    write_repository(repository, encoder=models.encoder, isf=models.isf, generators=[models.generators["plain"]])
    make_slow(repository)
    with server_of(repository) as server, InferenceServerClient(server.url) as client:
        requests, batches = executions(client, "generator_plain")
        edited = {"attributes": np.ones((1, 2), np.float32)}
        answers = send(
            client, "toonify", [{"face": face[None]} | (edited if i % 2 else {}) for i, face in enumerate(FACES)]
        )
        for answer in answers:
            answer.result()
        now = executions(client, "generator_plain")
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
        wait_until(lambda: executions(client, "encoder")[0] == before + len(FACES))
        os.kill(server.pid, signal.SIGTERM)
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
    server = TritonServer(
        triton_server.repository, log=tmp_path / "log", grpc_port=triton_server.ports["grpc"], http_port=0
    )
    with pytest.raises(ServerError, match=r"grpc port \d+ of 127\.0\.0\.1: got Address already in use"):
        server.start()
    assert not (tmp_path / "log").exists()


SERVE = """import sys
from pathlib import Path
from serving.triton.server import serve
ports = dict(zip(("grpc_port", "http_port", "metrics_port"), map(int, sys.argv[2:])))
serve(Path(sys.argv[1]), **ports, canary_interval=0.2, progress=lambda phrase: print(phrase, flush=True))
"""


@contextmanager
def serving(repository: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """``serve`` in a process of its own, ready: the process, the file of its phrases, its gRPC port."""
    ports = free_ports("127.0.0.1", {"grpc": 0, "http": 0, "metrics": 0})
    told = repository.with_name("told")
    with told.open("w") as output:
        command = [sys.executable, "-c", SERVE, str(repository), *map(str, ports.values())]
        # SIGINT is ignored, as a shell without job control starts background commands.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Files that a killed process cannot remove stay below the test's own folder.
        environment = {**os.environ, "TMPDIR": str(repository.parent)}
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        signal.signal(signal.SIGINT, previous)
    try:
        wait_until(lambda: "serving toonify" in told.read_text())
        yield process, told, ports["grpc"]
    finally:
        process.terminate()
        process.wait(90)


def regions_of(repository: Path) -> list[Path]:
    """Return the shared memory of a repository's python models, which their command lines name."""
    lines = [_text(Path(f"/proc/{pid}/cmdline")).split("\0") for pid in processes_of(repository)]
    return [path for path in Path("/dev/shm").iterdir() if any(path.name in line for line in lines)]


def test_a_killed_model_is_noticed_and_the_server_restarted(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    with serving(repository) as (process, told, port):
        (generator,) = processes_of(repository / "generator_plain")
        os.kill(generator, signal.SIGKILL)
        wait_until(lambda: told.read_text().count("serving toonify") == 2)
        with InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert np.array_equal(picture(client, "toonify", face=FACES[:1]), expected_pictures(FACES[:1]))
        process.terminate()
        assert process.wait(60) == 0
    assert "restarting: ensemble 'toonify_plain_jpeg': got the error" in told.read_text()
    assert not processes_of(repository)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_serve_in_order(
    tiny_model_directories: TinyModels, tmp_path: Path, number: signal.Signals
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    with serving(repository) as (process, _, port):
        process.send_signal(number)
        assert process.wait(60) == 0
    assert not processes_of(repository)
    assert not is_listening("127.0.0.1", port)


def test_a_second_signal_ends_a_server_that_hangs(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    with serving(repository) as (process, told, _):
        regions = regions_of(repository)
        (server,) = processes_of(f"--model-repository={repository}")
        os.kill(server, signal.SIGSTOP)
        process.terminate()
        wait_until(lambda: "stopping" in told.read_text())
        process.terminate()
        assert process.wait(60) == 0
    assert regions
    assert not [region for region in regions if region.exists()]
    wait_until(lambda: not processes_of(repository))


@pytest.mark.skipif(not shutil.which("setpriv"), reason="without setpriv a killed parent leaves its server running")
def test_a_server_ends_when_the_process_that_started_it_is_killed(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    with serving(repository) as (process, _, port):
        regions = regions_of(repository)
        process.kill()
        wait_until(lambda: not processes_of(repository))
    assert not [region for region in regions if region.exists()]
    assert not is_listening("127.0.0.1", port)


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
