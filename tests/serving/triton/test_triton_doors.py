"""What a client of the real server may not do: change settings, name memory, load models, keep memory with messages."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_repository import small_repository
from tiny_models import TinyModels, expected_pictures
from triton_requests import picture
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from serving.triton.process_group import PROC
from serving.triton.server import TritonServer

pytestmark = pytest.mark.triton

FACE = np.random.default_rng(5).integers(0, 256, (1, 256, 256, 3), np.uint8)
Request = Callable[[InferenceServerClient], Any]


@pytest.fixture(scope="module")
def open_server(tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with HTTP."""
    folder = tmp_path_factory.mktemp("doors")
    repository = small_repository(tiny_model_directories, folder)
    with TritonServer(repository, log=folder / "log", grpc_port=0, http_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def client(triton_server: TritonServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton_server.url) as client:
        yield client


@pytest.mark.parametrize(
    "request_",
    [
        lambda client: client.update_log_settings({"log_file": "evil.log"}),
        lambda client: client.get_log_settings(),
        lambda client: client.update_trace_settings(settings={"trace_file": "evil.json"}),
        lambda client: client.get_trace_settings(),
        lambda client: client.register_system_shared_memory("name", "/key", 1),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.unregister_system_shared_memory(),
        lambda client: client.get_cuda_shared_memory_status(),
    ],
)
def test_settings_and_memory_are_closed_to_clients(client: InferenceServerClient, request_: Request) -> None:
    with pytest.raises(InferenceServerException, match="This protocol is restricted"):
        request_(client)


@pytest.mark.parametrize(
    "request_",
    [
        lambda client: client.unload_model("encoder"),
        lambda client: client.load_model("encoder"),
        lambda client: client.load_model("x", config='{"backend":"python"}', files={"file:1/model.py": b"import os"}),
    ],
)
def test_clients_cannot_load_or_unload_models(client: InferenceServerClient, request_: Request) -> None:
    with pytest.raises(InferenceServerException, match="load / unload is not allowed"):
        request_(client)
    assert np.array_equal(picture(client, "toonify", face=FACE), expected_pictures(FACE))


def test_http_is_closed_unless_it_is_asked_for(triton_server: TritonServer) -> None:
    assert set(triton_server.ports) == {"grpc", "metrics"}
    sockets = {link.readlink() for link in (PROC / str(triton_server.pid) / "fd").iterdir() if link.is_symlink()}
    inodes = {str(path)[8:-1] for path in sockets if str(path).startswith("socket:")}
    lines = [line.split() for name in ("tcp", "tcp6") for line in (PROC / "net" / name).read_text().splitlines()[1:]]
    listening = {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}
    assert listening == set(triton_server.ports.values())


def asked(server: TritonServer, method: str, path: str, body: object = None) -> int:
    """The status of the answer to an HTTP request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=20)
    connection.request(method, path, None if body is None else json.dumps(body))
    status = connection.getresponse().status
    connection.close()
    return status


def test_open_http_answers_health_and_keeps_the_rest_closed(open_server: TritonServer) -> None:
    assert asked(open_server, "GET", "/v2/health/ready") == 200
    assert asked(open_server, "POST", "/v2/logging", {"log_file": "evil.log"}) == 403
    assert asked(open_server, "POST", "/v2/trace/setting", {"trace_file": "evil.json"}) == 403
    region = "/v2/systemsharedmemory/region/x/register"
    assert asked(open_server, "POST", region, {"key": "/x", "offset": 0, "byte_size": 1}) == 403
    assert asked(open_server, "POST", "/v2/repository/models/encoder/unload") >= 400


def test_no_header_opens_the_closed_protocols(open_server: TritonServer) -> None:
    for name in (b"closed\ndoor", b"closed\r\ndoor", b"closed\r\n door", b"closed door", b"closed%0Adoor"):
        with socket.create_connection(("127.0.0.1", open_server.ports["http"]), timeout=20) as connection:
            connection.sendall(
                b"GET /v2/logging HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + name + b": closed\r\n\r\n"
            )
            assert b"200 OK" not in connection.recv(1000)


def test_messages_that_are_far_too_large_are_refused_and_their_memory_given_back(open_server: TritonServer) -> None:
    def own_megabytes() -> int:
        rollup = (PROC / str(open_server.pid) / "smaps_rollup").read_text()
        return int(rollup.partition("\nPss_Anon:")[2].split()[0]) // 1024

    with InferenceServerClient(open_server.url) as client:
        before = own_megabytes()
        for size, refusal in (
            (64, "got 64.0 MiB, expected at most 32 MiB"),
            (256, "Failed to increase the shared memory pool"),
            (550, "Failed to increase the shared memory pool"),
        ):
            with pytest.raises(InferenceServerException, match=refusal):
                picture(client, "toonify_jpeg", jpeg=np.array([[bytes(size << 20)]], dtype=object))
            assert np.array_equal(picture(client, "toonify", face=FACE), expected_pictures(FACE))
        assert own_megabytes() - before < 32  # 70 to 560 MiB where the C library keeps what is freed
        regions = Path("/dev/shm").glob(f"{open_server.shared_memory_prefix}*")
        assert sum(path.stat().st_blocks * 512 for path in regions) < 2**27
