"""The page about clients in other languages: its blocks, run by the real curl and Node, and its table of tensors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from edges import edge_before, needs_envoy
from fake_triton import FakeTriton, running
from served_repository import small_repository
from tiny_models import TinyModels, expected_pictures

from engines.contract.tensors import Geometry, Signature, TensorSpec, toonify_jpeg_signature, toonify_signature
from serving.deploy.callers import ApiKeys
from serving.faces.jpeg import jpeg_from_picture
from serving.triton.server import TritonServer

PAGE = (Path(__file__).parents[3] / "serving/deploy/clients.md").read_text()
FACE = np.random.default_rng(3).integers(0, 256, (1, 256, 256, 3), np.uint8)
KEY = "0123456789abcdef-key"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def block(name: str, addresses: dict[str, str]) -> str:
    """A block of the page, with other addresses."""
    (text,) = re.findall(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    for written, address in addresses.items():
        assert written in text
        text = text.replace(written, address)
    return str(text)


def shell(script: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


@dataclass(frozen=True)
class Server:
    """The addresses of a real server."""

    http: str
    grpc: str


@pytest.fixture(scope="module")
def server(tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    repository = small_repository(tiny_model_directories, folder)
    with TritonServer(repository, log=folder / "log", grpc_port=0, http_port=0, metrics_port=0) as triton:
        yield Server(f"127.0.0.1:{triton.ports['http']}", triton.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "face.jpg").write_bytes(jpeg_from_picture(FACE[0]))
    (tmp_path / "face.rgb").write_bytes(FACE.tobytes())
    return tmp_path


def check_toon(folder: Path) -> None:
    toon = cv2.imread(str(folder / "toon.jpg"))
    assert toon is not None
    assert toon.shape == (32, 32, 3)


@needs_curl
@needs_envoy
@pytest.mark.triton
def test_the_shortest_way(server: Server, folder: Path) -> None:
    with edge_before([server.grpc], folder, http=True) as (edge, _):
        shell(block("edge", {"127.0.0.1:9001": edge.url}), folder)
    check_toon(folder)


@needs_curl
@pytest.mark.triton
def test_a_jpeg_by_the_servers_http(server: Server, folder: Path) -> None:
    shell(block("binary", {"127.0.0.1:8000": server.http}), folder)
    check_toon(folder)


@needs_curl
@pytest.mark.triton
def test_numbers_by_the_servers_http(server: Server, folder: Path) -> None:
    shell(block("json", {"127.0.0.1:8000": server.http}), folder)
    (output,) = json.loads((folder / "answer.json").read_text())["outputs"]
    picture = np.array(output["data"], np.uint8).reshape(output["shape"])
    assert np.array_equal(picture, expected_pictures(FACE, psi=0.7))


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Node's packages of gRPC, installed by npm where its registry answers."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    packages = ["@grpc/grpc-js@1.14.4", "@grpc/proto-loader@0.8.0"]
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *packages]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=120)
    except subprocess.SubprocessError:
        pytest.skip("npm's registry does not answer, or has no @grpc/grpc-js")
    return folder / "node_modules"


def run_node(address: str, folder: Path, modules: Path, **environment: str) -> str:
    (folder / "node_modules").symlink_to(modules)
    shell(block("description", {}), folder)
    (folder / "toonify.js").write_text(block("node", {}))
    command = ["node", "toonify.js", address]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    return done.stderr


@pytest.mark.node
@pytest.mark.triton
def test_node_asks_a_server(server: Server, folder: Path, node_modules: Path) -> None:
    assert run_node(server.grpc, folder, node_modules) == ""
    check_toon(folder)


@needs_envoy
@pytest.mark.node
def test_node_asks_an_edge_with_its_key_for_a_large_picture(folder: Path, node_modules: Path) -> None:
    large = np.random.default_rng(5).bytes(5 * 2**20)  # this server gives back what it gets; Node's own limit is 4 MiB
    (folder / "face.jpg").write_bytes(large)
    with running(FakeTriton()) as fake, edge_before([fake], folder, callers=ApiKeys({"node": KEY})) as (edge, _):
        assert run_node(edge.url, folder, node_modules, TOONIFY_KEY=KEY) == ""
    assert (folder / "toon.jpg").read_bytes() == large
    assert fake.metadata[0]["x-client-id"] == "node"


def test_the_page_lists_every_input_with_its_type_and_shape_and_which_are_optional() -> None:
    geometry = Geometry(1024)
    rows = re.findall(r"^\| *([\w`]*) \| `(\w+)` \| (\w+) \| \[N, ([^\]]+)\] \| (optional)?", PAGE, re.MULTILINE)
    listed = {name: (kind, dims, bool(optional)) for _, name, kind, dims, optional in rows}

    def described(signature: Signature) -> dict[str, tuple[str, str, bool]]:
        return {spec.name: (spec.dtype.triton, dims(spec), spec.optional) for spec in signature.inputs}

    def dims(spec: TensorSpec) -> str:
        return {"attributes": "A", "row_strength": "L"}.get(spec.name, ", ".join(map(str, spec.dims)))

    assert listed == {**described(toonify_signature(geometry)), **described(toonify_jpeg_signature(geometry))}
