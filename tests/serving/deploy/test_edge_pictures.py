"""Pictures through an edge by plain HTTP: the real curl, the real Envoy, and a server in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from edges import edge_before, needs_envoy
from fake_triton import FakeTriton, running
from tritonclient.grpc.service_pb2 import ModelInferRequest

from serving.deploy.callers import ApiKeys
from serving.deploy.limits import MIB

pytestmark = [needs_envoy, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")]

KEY = "0123456789abcdef-key"


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    """Bytes that the server in this process gives back as they are."""
    path = tmp_path / "face.jpg"
    path.write_bytes(os.urandom(100_000))
    return path


def curl(*arguments: object) -> tuple[str, bytes]:
    """Status and body of an answer."""
    command = ["curl", "--silent", "--write-out", "%{stderr}%{http_code} %{content_type}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stderr.decode().strip(), done.stdout


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_plain_post_of_a_file_gives_a_file(fake: FakeTriton, tmp_path: Path, jpeg: Path, version: str) -> None:
    with edge_before([fake], tmp_path, http=True) as (edge, _):
        answer = curl(version, "--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify")
    assert answer == ("200 image/jpeg", jpeg.read_bytes())
    assert fake.metadata[0]["toonify-model"] == "toonify_jpeg"


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 3_000_000])
def test_files_of_any_size_come_through_whole(fake: FakeTriton, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    with edge_before([fake], tmp_path, http=True) as (edge, _):
        assert curl("--data-binary", f"@{path}", f"http://{edge.url}/toonify")[1] == path.read_bytes()


def test_the_path_names_the_model(fake: FakeTriton, tmp_path: Path, jpeg: Path) -> None:
    fake.models["toonify_old_jpeg"] = fake.models["toonify_jpeg"]
    with edge_before([fake], tmp_path, http=True) as (edge, _):
        assert curl("--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify/old")[0] == "200 image/jpeg"
        status, body = curl("--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify/nobody")
    assert status == "404 text/plain"
    assert fake.metadata[0]["toonify-model"] == "toonify_old_jpeg"
    assert b"toonify_nobody_jpeg" in body


def test_what_is_refused_is_a_sentence_with_a_status(fake: FakeTriton, tmp_path: Path, jpeg: Path) -> None:
    fake.failures.append((grpc.StatusCode.INVALID_ARGUMENT, "jpeg: got no JPEG, expected one"))
    with edge_before([fake], tmp_path, http=True, max_message=MIB, callers=ApiKeys({"a": KEY})) as (edge, _):
        url, file, key = f"http://{edge.url}/toonify", f"@{jpeg}", f"x-api-key: {KEY}"
        assert curl("--data-binary", file, url)[0].startswith("401")
        assert curl("--header", key, "--data-binary", file, url) == (
            "400 text/plain",
            b"jpeg: got no JPEG, expected one\n",
        )
        assert curl("--header", key, url)[0] == "405 text/plain"
        assert curl("--header", key, "--data-binary", "", url)[0] == "400 text/plain"
        jpeg.write_bytes(bytes(2 * MIB))
        assert curl("--header", key, "--data-binary", file, url)[0].startswith("413")


class Late(FakeTriton):
    """It begins an answer before it refuses."""

    def ModelInfer(self, request: ModelInferRequest, context: grpc.ServicerContext) -> NoReturn:
        context.send_initial_metadata((("answer", "begins"),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "late: got no JPEG, expected one")


def test_a_refusal_after_the_beginning_of_the_answer_has_its_status_too(tmp_path: Path, jpeg: Path) -> None:
    with running(Late()) as fake, edge_before([fake], tmp_path, http=True) as (edge, _):
        status, _ = curl("--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify")
    assert status == "400 text/plain"
    assert "script log" not in (tmp_path / "edge.log").read_text()


@pytest.mark.parametrize("header", ["Origin: https://somewhere.example", "Sec-Fetch-Site: cross-site"])
def test_a_web_page_sends_nothing(fake: FakeTriton, tmp_path: Path, jpeg: Path, header: str) -> None:
    with edge_before([fake], tmp_path, http=True) as (edge, _):
        status, body = curl("--header", header, "--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify")
    assert status == "403 text/plain"
    assert body == b"toonify: got a request of a web page, expected one of a program.\n"
    assert not fake.metadata


def test_other_paths_and_edges_without_http_refuse(fake: FakeTriton, tmp_path: Path, jpeg: Path) -> None:
    with edge_before([fake], tmp_path, http=True) as (edge, _):
        for path in ("v2/models/toonify/infer", "toonify/../admin", "toonify/a/b", "toonifyx", ""):
            assert curl("--path-as-is", "--data-binary", f"@{jpeg}", f"http://{edge.url}/{path}")[0].startswith(
                "403"
            ), path
    with edge_before([fake], tmp_path) as (edge, _):
        assert curl("--data-binary", f"@{jpeg}", f"http://{edge.url}/toonify")[0].startswith("403")
