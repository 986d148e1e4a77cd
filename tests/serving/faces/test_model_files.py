from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from toonify_command import Toonify

from engines.contract.errors import AlignmentError
from serving.faces import model_files, models_cli
from serving.faces.automatic import automatic_landmarker
from serving.faces.haar import HaarLandmarker
from serving.faces.model_files import FOLDER_VARIABLE, MODEL_FILES, ModelFile, model_folder, obtained, present

CONTENT = bytes(range(256)) * 4000


@dataclass
class Publisher:
    """An HTTP server of one file; ``sent`` is what it sends of a file that it claims to be ``CONTENT``."""

    url: str = ""
    sent: bytes = CONTENT
    status: int = 200
    requests: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    def model(self, *others: str) -> ModelFile:
        digest = hashlib.sha256(CONTENT).hexdigest()
        return ModelFile("net.onnx", (*others, f"{self.url}/net.onnx"), digest, len(CONTENT), "MIT", "finds faces")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    state = Publisher()
    state.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            state.gate.wait(30)
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(state.sent)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once_into_a_folder_that_need_not_exist(publisher: Publisher, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "models"
    path = obtained(publisher.model(), folder)
    assert path.read_bytes() == CONTENT
    assert obtained(publisher.model(), folder) == path == present(publisher.model(), folder)
    assert publisher.requests == 1
    assert names(folder) == ["net.onnx"]


@pytest.mark.parametrize(
    ("sent", "got"),
    [(CONTENT[:-1] + b"x", "a file with another SHA-256"), (CONTENT[:1000], "no download of http")],
    ids=["wrong hash", "half a download"],
)
def test_what_is_not_the_published_file_leaves_nothing(
    publisher: Publisher, tmp_path: Path, sent: bytes, got: str
) -> None:
    publisher.sent = sent
    with pytest.raises(
        AlignmentError, match=rf"^net\.onnx: got {got}.*, expected the published file in .*; run toonify"
    ):
        obtained(publisher.model(), tmp_path)
    assert names(tmp_path) == []


def test_an_answer_other_than_a_file_is_named(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status = 404
    with pytest.raises(AlignmentError, match=r"got status 404 from http://"):
        obtained(publisher.model(), tmp_path)
    assert names(tmp_path) == []


def test_another_address_is_tried_where_one_fails(publisher: Publisher, tmp_path: Path) -> None:
    assert obtained(publisher.model("http://127.0.0.1:9/net.onnx"), tmp_path).read_bytes() == CONTENT


def test_without_a_network_one_sentence_names_address_folder_and_variable(tmp_path: Path) -> None:
    model = Publisher(url="http://127.0.0.1:9").model()
    with pytest.raises(AlignmentError) as caught:
        obtained(model, tmp_path)
    message = str(caught.value)
    assert message.startswith(
        "net.onnx: got no download of http://127.0.0.1:9/net.onnx, expected the published file in "
    )
    assert all(part in message for part in (str(tmp_path), FOLDER_VARIABLE, "toonify models get"))
    assert "\n" not in message


def test_a_damaged_file_is_named_and_replaced(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(AlignmentError, match="got a file with another SHA-256 than the published one"):
        present(publisher.model(), tmp_path)
    assert obtained(publisher.model(), tmp_path).read_bytes() == CONTENT


def test_two_downloads_at_once_both_end_with_the_file(publisher: Publisher, tmp_path: Path) -> None:
    publisher.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        downloads = [pool.submit(obtained, publisher.model(), tmp_path) for _ in range(2)]
        while publisher.requests < 2:
            sleep(0.01)
        publisher.gate.set()
        assert [download.result().read_bytes() == CONTENT for download in downloads] == [True, True]
    assert names(tmp_path) == ["net.onnx"]


def test_a_folder_that_cannot_be_made_is_named(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlignmentError, match=r"got .* at .*file/models, expected the published file"):
        obtained(publisher.model(), tmp_path / "file" / "models")


def test_the_published_files_are_named_by_address_and_hash() -> None:
    for model in MODEL_FILES:
        assert all(address.startswith("https://") and address.endswith(model.name) for address in model.addresses)
        assert len(bytes.fromhex(model.sha256)) == 32


@pytest.fixture
def published(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for one file, which the local publisher offers instead of the real ones."""
    for module in (model_files, models_cli):
        monkeypatch.setattr(module, "MODEL_FILES", (publisher.model(),))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_command_lists_gets_and_tells_where(toonify: Toonify, published: Path) -> None:
    assert toonify("models", "where") == (0, f"{published}\n", "")
    assert toonify("models", "list")[1].splitlines()[1].split()[-1] == "no"
    assert toonify("models", "get") == (0, f"{published / 'net.onnx'}\n", "")
    assert toonify("models", "list")[1].splitlines()[1].split()[-1] == "yes"
    listed = json.loads(toonify("models", "list", "--json")[1])
    assert [(model["name"], model["here"]) for model in listed] == [("net.onnx", True)]


def test_a_download_that_fails_is_one_line_and_exit_code_1(
    toonify: Toonify, published: Path, publisher: Publisher
) -> None:
    publisher.status = 500
    code, out, err = toonify("models", "get")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: net.onnx: got status 500")


def test_without_the_variable_the_files_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_folder().name == "toonify-serve"


def test_haar_takes_the_models_place_with_one_line_that_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    landmarker = automatic_landmarker(lambda model: present(model, tmp_path), lines.append)
    assert isinstance(landmarker, HaarLandmarker)
    (line,) = lines
    assert line.startswith("face_detection_yunet_2023mar.onnx: got no such file, expected the published file in ")
    assert "Haar cascades find the faces" in line
