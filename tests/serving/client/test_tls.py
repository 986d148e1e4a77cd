"""TLS, keys and several servers: the clients, and the commands' options and environment variables."""

from __future__ import annotations

import json
import ssl
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import numpy as np
import pytest
from blocking_client import Blocking
from certificates import Authority, Pair
from fake_triton import FakeTriton, running
from toonify_command import Toonify

from engines.contract.errors import RequestError
from serving.back_end import BackEnd
from serving.client import ToonifyClient, tls_credentials
from serving.client.tls import expects_tls
from serving.connection import connection_from_options
from serving.faces.images import write_picture

FACE = np.zeros((256, 256, 3), np.uint8)
KEY = "s3cret-key"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def somebody(authority: Authority) -> Pair:
    return authority.issue("somebody", "somebody")


@pytest.fixture
def fake(authority: Authority, here: Pair) -> Iterator[FakeTriton]:
    with running(FakeTriton(), authority.server(here)) as server:
        yield server


@pytest.fixture(params=[ToonifyClient, Blocking], ids=["blocking", "asyncio"])
def client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def face(tmp_path: Path) -> Path:
    write_picture(tmp_path / "face.png", FACE)
    return tmp_path / "face.png"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "HEADERS", "TLS_CA", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"TOONIFY_{name}", raising=False)
    monkeypatch.delenv("TRACEPARENT", raising=False)


def test_pictures_travel_over_tls(client_class: Any, fake: FakeTriton, authority: Authority) -> None:
    port = fake.url.rpartition(":")[2]
    for url in (f"https://{fake.url}", fake.url, f"https://localhost:{port}"):
        with client_class(url, credentials=tls_credentials(authority.ca)) as client:
            assert client.toonify(FACE).shape == (1, 512, 512, 3)


def test_several_servers_with_tls_share_the_name_of_the_first(
    client_class: Any, authority: Authority, here: Pair
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(running(FakeTriton(), authority.server(here))) for _ in range(2)]
        urls = [f"https://localhost:{server.url.rpartition(':')[2]}" for server in servers]
        with client_class(urls, credentials=tls_credentials(authority.ca)) as client:
            for _ in range(30):
                client.toonify(FACE)
        assert all(server.requests for server in servers)


def test_a_server_may_ask_for_a_clients_certificate(
    client_class: Any, authority: Authority, here: Pair, somebody: Pair
) -> None:
    with running(FakeTriton(), authority.server(here, asks_clients=True)) as fake:
        with client_class(fake.url, credentials=tls_credentials(authority.ca, somebody.certificate, somebody.key)) as c:
            c.toonify(FACE)
        with (
            client_class(fake.url, credentials=tls_credentials(authority.ca)) as client,
            pytest.raises(RequestError, match="give one as --tls-cert and --tls-key"),
        ):
            client.toonify(FACE, timeout=0.5)


def test_a_port_with_tls_that_is_asked_without_says_so(client_class: Any, fake: FakeTriton) -> None:
    with (
        client_class(fake.url) as client,
        pytest.raises(RequestError, match=r"got a port that expects TLS, expected .*; give it as https://HOST:PORT"),
    ):
        client.toonify(FACE)


def test_a_port_without_tls_that_is_asked_with_it_says_so(client_class: Any) -> None:
    with (
        running(FakeTriton()) as fake,
        client_class(f"https://{fake.url}") as client,
        pytest.raises(RequestError, match=r"expected a port that expects TLS; leave https:// and --tls-ca out"),
    ):
        client.toonify(FACE)


def test_a_refused_certificate_is_one_line_on_stderr(fake: FakeTriton, face: Path) -> None:
    command = [f"{sysconfig.get_path('scripts')}/toonify", "image", face, "-o", face.with_name("toon.png")]
    done = subprocess.run([*command, "--url", f"https://{fake.url}"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: server at ")
    assert done.stderr.count("\n") == 1


@contextmanager
def web_server(pair: Pair | None) -> Iterator[str]:
    """A server of web pages, with TLS if it has a certificate; yields its HOST:PORT."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_port_for_web_pages_is_not_one_for_grpc(
    client_class: Any, authority: Authority, here: Pair, encrypted: bool
) -> None:
    credentials = tls_credentials(authority.ca) if encrypted else None
    with (
        web_server(here if encrypted else None) as url,
        client_class(url, credentials=credentials) as client,
        pytest.raises(RequestError, match=r"^server at .* expected the port of gRPC, which is 8001"),
    ):
        client.toonify(FACE)


def test_only_what_speaks_tls_counts_as_such(fake: FakeTriton) -> None:
    def asked(url: str) -> bool:
        host, _, port = url.rpartition(":")
        return expects_tls(host, int(port))

    assert asked(fake.url)
    with running(FakeTriton()) as plain:
        assert not asked(plain.url)
    assert not asked("127.0.0.1:9")


def test_a_certificate_that_is_not_trusted_is_one_sentence(client_class: Any, fake: FakeTriton) -> None:
    with (
        client_class(f"https://{fake.url}") as client,
        pytest.raises(RequestError, match=r"CERTIFICATE_VERIFY_FAILED.*give the authority's certificate as --tls-ca"),
    ):
        client.toonify(FACE)


def test_a_certificate_for_another_name_is_one_sentence(
    client_class: Any, authority: Authority, somebody: Pair
) -> None:
    with (
        running(FakeTriton(), authority.server(somebody)) as fake,
        client_class(fake.url, credentials=tls_credentials(authority.ca)) as client,
        pytest.raises(RequestError, match="give the address by a name that the server's certificate has"),
    ):
        client.toonify(FACE)


def test_files_that_are_no_certificates_and_keys_are_named(
    tmp_path: Path, authority: Authority, here: Pair, somebody: Pair
) -> None:
    (tmp_path / "text").write_text("no certificate")
    for files, message in [
        ((tmp_path / "absent", None, None), "absent: got No such file or directory, expected a PEM file"),
        ((tmp_path / "text", None, None), "text: got a file without certificates"),
        ((Path("/dev/zero"), None, None), "zero: got more than 16 MiB, expected a PEM file"),
        ((authority.ca, here.certificate, None), "got a client's certificate or its key without the key"),
        ((None, None, here.key), "got a client's certificate or its key without the certificate"),
        ((None, here.certificate, somebody.key), "got files that are no certificate and its key"),
    ]:
        with pytest.raises(RequestError, match=message):
            tls_credentials(*files)


def test_options_reach_a_server_with_tls_and_a_key(
    toonify: Toonify, fake: FakeTriton, authority: Authority, face: Path, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f"Bearer {KEY}\n")
    options = ["--url", f"https://{fake.url}", "--tls-ca", authority.ca, "--header", "X-Tenant=a=b"]
    options += ["--header", f"authorization=@{tmp_path / 'key'}"]
    output = tmp_path / "toon.png"
    assert toonify("image", face, "-o", output, *options) == (0, f"{output}\n", "")
    (sent,) = fake.metadata
    assert (sent["x-tenant"], sent["authorization"]) == ("a=b", f"Bearer {KEY}")
    _, out, _ = toonify("doctor", "--json", *options)
    server = next(finding for finding in json.loads(out) if finding["subject"].startswith("server at "))
    assert (server["subject"], server["remedy"]) == (f"server at {fake.url}", "")


def test_environment_variables_take_the_place_of_options(
    toonify: Toonify, fake: FakeTriton, authority: Authority, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOONIFY_URL", f"https://{fake.url}")
    monkeypatch.setenv("TOONIFY_TLS_CA", str(authority.ca))
    monkeypatch.setenv("TOONIFY_HEADERS", f"authorization = Bearer {KEY}\n\nx-tenant=environment\n")
    monkeypatch.setenv("TRACEPARENT", TRACE)
    options = ["-o", face.with_name("toon.png"), "--header", "x-tenant=option"]
    assert toonify("image", face, *options)[0] == 0
    (sent,) = fake.metadata
    assert (sent["authorization"], sent["x-tenant"], sent["traceparent"]) == (f"Bearer {KEY}", "option", TRACE)
    fake.failures.append((grpc.StatusCode.PERMISSION_DENIED, f"Bearer {KEY} may not"))
    code, out, err = toonify("image", face, "--force", *options)
    assert code == 1
    assert "PERMISSION_DENIED: *** may not" in err
    assert KEY not in out + err


@pytest.mark.parametrize("command", [["image", "a.png", "-o", "b.png"], ["video", "a.mp4", "-o", "b.mp4"], ["doctor"]])
def test_a_key_in_the_open_is_refused_unseen(toonify: Toonify, face: Path, command: list[str]) -> None:
    paths = [face.with_name(part) if "." in part else part for part in command]
    face.rename(face.with_name("a.png")).with_suffix(".mp4").touch()
    code, out, err = toonify(*paths, "--header", f"X-Api-Key={KEY}")
    assert code == 2
    assert "X-Api-Key=@FILE, or set TOONIFY_HEADERS" in " ".join(err.replace("│", " ").split())
    assert KEY not in out + err


def test_several_urls_are_several_servers(toonify: Toonify, face: Path) -> None:
    with running(FakeTriton()) as first, running(FakeTriton()) as second:
        album = face.with_name("album")
        album.mkdir()
        for number in range(12):
            (album / f"{number}.png").write_bytes(face.read_bytes())
        urls = ["--url", first.url, "--url", second.url]
        assert toonify("image", album, "-o", face.with_name("toons"), *urls)[0] == 0
        assert len(first.requests) + len(second.requests) == 12
        assert first.requests
        assert second.requests


def test_models_in_this_process_need_no_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOONIFY_URL", "https://triton:8443")
    monkeypatch.setenv("TOONIFY_HEADERS", "authorization=@absent")
    server = connection_from_options(None, None, None, None, None)
    assert BackEnd(server, encoder=Path("encoder"), generators=[Path("generator")]).in_process
    server = connection_from_options(["triton:8001"], None, None, None, None)
    with pytest.raises(RequestError, match="got --url and model directories"):
        BackEnd(server, encoder=Path("encoder"), generators=[Path("generator")])


def test_what_is_wrong_in_the_environment_is_named_unseen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value, message in [
        (KEY, "TOONIFY_HEADERS: got a line without =, expected NAME=VALUE"),
        (f"x-key=@{tmp_path / 'absent'}", "header 'x-key': got .*absent: No such file or directory"),
    ]:
        monkeypatch.setenv("TOONIFY_HEADERS", value)
        with pytest.raises(RequestError, match=message) as caught:
            connection_from_options(None, None, None, None, None).client(1)
        assert KEY not in str(caught.value)
    monkeypatch.setenv("TOONIFY_HEADERS", f"x-key={KEY}")
    monkeypatch.setenv("TRACEPARENT", "nonsense")
    connection = connection_from_options(None, None, None, None, None)
    assert connection.traceparent is None
    assert KEY not in repr(connection)
