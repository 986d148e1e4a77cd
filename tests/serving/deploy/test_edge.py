"""The rules of an edge, each shown by the real Envoy in front of servers in this process."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from blocking_client import Blocking
from certificates import Authority, Pair
from edges import edge_before, needs_envoy
from fake_triton import FakeTriton, running, toonified
from tokens import TokenIssuer
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.grpc.service_pb2 import DESCRIPTOR
from tritonclient.utils import InferenceServerException

from engines.contract.errors import RequestError, ServerError
from serving.client import ToonifyClient, tls_credentials
from serving.deploy.callers import ApiKeys
from serving.deploy.downstream import ALLOWED_METHODS, listener
from serving.deploy.edge import Edge, Tls
from serving.deploy.envoy import Envoy
from serving.deploy.limits import MIB

pytestmark = needs_envoy

FACE = np.full((256, 256, 3), 7, np.uint8)
KEY = "0123456789abcdef-key"
KEYS = ApiKeys({"studio": KEY})
EJECTIONS = "outlier_detection.ejections_enforced_total"


@pytest.fixture
def others() -> Iterator[tuple[FakeTriton, FakeTriton]]:
    with running(FakeTriton()) as first, running(FakeTriton()) as second:
        yield first, second


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer("https://issuer.example", "toonify")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 s"
        time.sleep(0.05)


def statistic(envoy: Envoy, name: str) -> int:
    """A counter or gauge of the servers' side."""
    return envoy.statistics(f"cluster.triton.{name}")[f"cluster.triton.{name}"]


@pytest.mark.parametrize("client_class", [ToonifyClient, Blocking], ids=["blocking", "asyncio"])
def test_pictures_go_through(client_class: Any, fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path) as (edge, _), client_class(edge.url) as client:
        assert np.array_equal(client.toonify(FACE), toonified(FACE[None]))
        assert client.models() == ("toonify",)
        assert client.describe().resolution == 512
        assert client.is_ready()
    assert fake.metadata[0]["toonify-model"] == "toonify"


@contextmanager
def raw_channel(url: str) -> Iterator[Callable[[str], grpc.StatusCode]]:
    """A function that calls any method without a request, and returns the status."""
    with grpc.insecure_channel(url) as channel:

        def status(method: str) -> grpc.StatusCode:
            try:
                channel.unary_unary(method)(b"", timeout=5)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        yield status


def test_only_pictures_descriptions_and_readiness_may_be_asked(fake: FakeTriton, tmp_path: Path) -> None:
    methods = [
        f"/inference.GRPCInferenceService/{method.name}"
        for method in DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    ]
    with edge_before([fake], tmp_path) as (edge, _), raw_channel(edge.url) as status:
        refused = {method for method in methods if status(method) is grpc.StatusCode.PERMISSION_DENIED}
        assert status("/grpc.health.v1.Health/Check") is grpc.StatusCode.OK
    assert {*methods} - refused == {*ALLOWED_METHODS} - {"/grpc.health.v1.Health/Check"}
    for word in ("Load", "Unload", "Log", "Trace", "SharedMemory", "Statistics"):
        assert any(word in method for method in refused), word


@pytest.mark.parametrize("lacking", ["te", "content-type", "POST"])
def test_what_is_no_call_of_grpc_reaches_no_server_and_puts_none_out_of_service(
    others: tuple[FakeTriton, FakeTriton], tmp_path: Path, lacking: str
) -> None:
    headers = {"te": "trailers", "content-type": "application/grpc"}
    headers |= {lacking: "text/plain"} if lacking in headers else {}
    options = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    method = "PUT" if lacking == "POST" else "POST"
    command = ["curl", "--silent", "--http2-prior-knowledge", "--request", method, *options, "--data-binary", "page"]
    with edge_before(others, tmp_path) as (edge, envoy):
        url = f"http://{edge.url}/inference.GRPCInferenceService/ModelInfer"
        for _ in range(6):
            subprocess.run([*command, url], check=False, capture_output=True)  # curl calls an early refusal a failure
        assert envoy.statistics("http.edge.downstream_rq_total")["http.edge.downstream_rq_total"] == 6
        assert statistic(envoy, EJECTIONS) == 0
    assert '"server":null' in (tmp_path / "edge.log").read_text()
    assert '"server":"' not in (tmp_path / "edge.log").read_text()


def test_a_refused_method_is_one_sentence(fake: FakeTriton, tmp_path: Path) -> None:
    fake.allow_shared_memory = True
    with (
        edge_before([fake], tmp_path) as (edge, _),
        InferenceServerClient(edge.url) as client,
        pytest.raises(InferenceServerException, match="RBAC: access denied"),
    ):
        client.load_model("toonify")


def test_shared_memory_is_refused_and_pictures_travel_as_bytes(fake: FakeTriton, tmp_path: Path) -> None:
    fake.allow_shared_memory = True
    with edge_before([fake], tmp_path) as (edge, _), ToonifyClient(edge.url, shared_memory=True) as client:
        assert client.toonify(FACE).shape == (1, 512, 512, 3)
    assert next(fake.registrations) == 0


def test_a_key_opens_the_edge_and_does_not_reach_the_servers(fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path, callers=KEYS) as (edge, _):
        with ToonifyClient(edge.url, headers={"x-api-key": KEY, "x-client-id": "somebody-else"}) as client:
            client.toonify(FACE)
        for headers in ({}, {"x-api-key": "wrong-key-that-is-long"}, {"x-client-id": "studio"}):
            with (
                ToonifyClient(edge.url, headers=headers) as client,
                pytest.raises(RequestError, match="expected a key or token that is known there") as refusal,
            ):
                client.toonify(FACE)
            assert "wrong-key" not in str(refusal.value)
    (metadata,) = fake.metadata
    assert metadata["x-client-id"] == "studio"
    assert KEY not in str(metadata)
    log = (tmp_path / "edge.log").read_text()
    assert '"caller":"studio"' in log
    assert KEY not in log


def test_nobody_names_himself(fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path) as (edge, _), ToonifyClient(edge.url, headers={"x-client-id": "me"}) as client:
        client.toonify(FACE)
    assert "x-client-id" not in fake.metadata[0]


def test_a_token_opens_the_edge(fake: FakeTriton, tmp_path: Path, issuer: TokenIssuer) -> None:
    headers = {"authorization": f"Bearer {issuer.token()}", "x-client-id": "somebody-else"}
    callers = issuer.tokens()
    with (
        edge_before([fake], tmp_path, callers=callers) as (edge, _),
        ToonifyClient(edge.url, headers=headers) as client,
    ):
        client.toonify(FACE)
    assert fake.metadata[0]["x-client-id"] == "somebody"
    assert "authorization" not in fake.metadata[0]


def test_a_token_in_the_path_opens_nothing_and_no_log_has_what_follows_a_question_mark(
    fake: FakeTriton, tmp_path: Path, issuer: TokenIssuer
) -> None:
    token = issuer.token()
    with (
        edge_before([fake], tmp_path, callers=issuer.tokens()) as (edge, _),
        raw_channel(edge.url) as status,
    ):
        path = f"/inference.GRPCInferenceService/ServerReady?access_token={token}"
        assert status(path) is grpc.StatusCode.UNAUTHENTICATED
    log = (tmp_path / "edge.log").read_text()
    assert '"path":"/inference.GRPCInferenceService/ServerReady"' in log
    assert token not in log


def test_tokens_that_are_not_meant_for_the_edge_do_not_open_it(
    fake: FakeTriton, tmp_path: Path, issuer: TokenIssuer
) -> None:
    bad = {
        "expired": issuer.token(expires=time.time() - 600),
        "for another audience": issuer.token(audience="somebody"),
        "of another issuer": issuer.token(issuer="https://other.example"),
        "signed by another key": TokenIssuer(issuer.issuer, issuer.audience).token(),
        "without an end": issuer.token(expires=None),
    }
    refusals = {}
    with edge_before([fake], tmp_path, callers=issuer.tokens()) as (edge, _):
        for what, token in bad.items():
            with ToonifyClient(edge.url, headers={"authorization": f"Bearer {token}"}) as client:
                with pytest.raises(RequestError) as refusal:
                    client.toonify(FACE)
                refusals[what] = str(refusal.value)
    assert not fake.metadata
    expected = ("expected a key or token that is known there", "expected a caller who may ask this")
    assert {what for what, text in refusals.items() if any(part in text for part in expected)} == bad.keys()


def test_a_message_beyond_the_limit_is_refused_before_it_reaches_a_server(fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path, max_message=MIB) as (edge, _), ToonifyClient(edge.url) as client:
        client.toonify(np.stack([FACE] * 4))
        with pytest.raises(RequestError, match="expected a request within the limit of the size"):
            client.toonify(np.stack([FACE] * 8))
    assert next(fake.attempts) == 1


def test_a_whole_batch_passes_the_usual_limit(fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path) as (edge, _), ToonifyClient(edge.url) as client:
        assert client.toonify(np.stack([FACE] * 8)).shape == (8, 512, 512, 3)


def test_what_exceeds_the_limit_of_requests_is_refused_at_once_and_not_repeated(
    fake: FakeTriton, tmp_path: Path
) -> None:
    errors: list[ServerError] = []

    def ask(number: int) -> None:
        try:
            client.toonify(FACE)
        except ServerError as error:
            errors.append(error)

    with edge_before([fake], tmp_path, max_requests=2) as (edge, envoy), ToonifyClient(edge.url) as client:
        client.toonify(FACE)  # it asks what the model is like too
        fake.delay = 1.0
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(6)))
        refused = statistic(envoy, "upstream_rq_active_overflow")
    assert len(fake.requests) == 3
    assert len(errors) == refused == 4  # each was refused once, so nobody asked again
    assert "expected room for one more request; try again later" in str(errors[0])


def test_a_server_that_is_not_ready_gets_no_requests(others: tuple[FakeTriton, FakeTriton], tmp_path: Path) -> None:
    first, second = others
    with edge_before(others, tmp_path) as (edge, envoy), ToonifyClient(edge.url) as client:
        for _ in range(12):
            client.toonify(FACE)
        assert first.requests
        first.healthy = False
        wait_until(lambda: statistic(envoy, "membership_healthy") == 1)
        before = len(first.requests)
        for _ in range(12):
            client.toonify(FACE)
    assert len(first.requests) == before
    assert len(second.requests) == 24 - before


def test_what_one_server_cannot_answer_another_one_does(others: tuple[FakeTriton, FakeTriton], tmp_path: Path) -> None:
    first, second = others
    withdrawn = "Request for unknown model: 'toonify' has no available versions"
    dead = "in ensemble 'toonify', Stub process 'encoder_0_0' is not healthy."
    with edge_before(others, tmp_path) as (edge, _), InferenceServerClient(edge.url) as client:
        for code, message in (
            (grpc.StatusCode.NOT_FOUND, withdrawn),
            (grpc.StatusCode.INTERNAL, dead),
            (grpc.StatusCode.UNAVAILABLE, "in ensemble 'toonify', Server is stopping"),
        ):
            first.failures.extend([(code, message)] * 4)
            second.failures.clear()
            for _ in range(8):
                infer(client)  # a client of NVIDIA's library, which repeats nothing
    assert len(first.requests) + len(second.requests) == 24


def infer(client: InferenceServerClient) -> None:
    tensor = InferInput("face", [1, 256, 256, 3], "UINT8")
    tensor.set_data_from_numpy(FACE[None])
    client.infer("toonify", [tensor], outputs=[InferRequestedOutput("image")])


def test_a_server_that_fails_three_times_in_a_row_is_left_out_for_a_while(
    others: tuple[FakeTriton, FakeTriton], tmp_path: Path
) -> None:
    first, second = others
    first.failures.extend([(grpc.StatusCode.INTERNAL, "Stub process 'encoder_0_0' is not healthy.")] * 1000)
    with edge_before(others, tmp_path) as (edge, envoy), InferenceServerClient(edge.url) as client:
        for _ in range(30):
            infer(client)
        ejected = envoy.statistics("cluster.triton.outlier_detection.ejections_enforced_total")
        assert [*ejected.values()] >= [1]
    assert len(second.requests) == 30
    assert next(first.attempts) < 10


def test_bad_requests_put_no_server_out_of_service(fake: FakeTriton, tmp_path: Path) -> None:
    fake.failures.extend([(grpc.StatusCode.INVALID_ARGUMENT, "bad"), (grpc.StatusCode.INTERNAL, "odd")] * 10)
    with edge_before([fake], tmp_path) as (edge, envoy), InferenceServerClient(edge.url) as client:
        for _ in range(20):
            with pytest.raises(InferenceServerException, match=r"bad|odd"):
                infer(client)
        infer(client)
        assert statistic(envoy, EJECTIONS) == 0


def test_without_any_server_the_reply_comes_at_once(tmp_path: Path) -> None:
    with (
        edge_before(["127.0.0.1:9"], tmp_path) as (edge, _),
        InferenceServerClient(edge.url) as client,
        pytest.raises(InferenceServerException, match="no healthy upstream"),
    ):
        infer(client)


def test_tls_and_keys_through_the_clients_own_options(
    fake: FakeTriton, tmp_path: Path, authority: Authority, here: Pair
) -> None:
    tls = Tls(here.certificate, here.key)
    with edge_before([fake], tmp_path, tls=tls, callers=KEYS) as (edge, _):
        assert edge.url.startswith("https://127.0.0.1:")
        with ToonifyClient(edge.url, credentials=tls_credentials(authority.ca), headers={"x-api-key": KEY}) as client:
            assert client.toonify(FACE).shape == (1, 512, 512, 3)
        with (
            ToonifyClient(edge.url.removeprefix("https://")) as client,
            pytest.raises(RequestError, match="got a port that expects TLS"),
        ):
            client.toonify(FACE)
        with (
            ToonifyClient(edge.url) as client,
            pytest.raises(RequestError, match="expected a certificate of an authority that this client trusts"),
        ):
            client.toonify(FACE)


def test_a_client_needs_a_certificate_where_authorities_are_named(
    fake: FakeTriton, tmp_path: Path, authority: Authority, here: Pair
) -> None:
    somebody = authority.issue("somebody", "somebody")
    with edge_before([fake], tmp_path, tls=Tls(here.certificate, here.key, authority.ca)) as (edge, _):
        known = tls_credentials(authority.ca, somebody.certificate, somebody.key)
        with ToonifyClient(edge.url, credentials=known) as client:
            assert client.toonify(FACE).shape == (1, 512, 512, 3)
        with (
            ToonifyClient(edge.url, credentials=tls_credentials(authority.ca)) as client,
            pytest.raises(RequestError, match="give one as --tls-cert and --tls-key"),
        ):
            client.toonify(FACE, timeout=2)
    log = [json.loads(line) for line in (tmp_path / "edge.log").read_text().splitlines() if line.startswith("{")]
    assert {entry["certificate"] for entry in log} == {"CN=somebody"}


def test_who_connects_and_says_nothing_is_disconnected() -> None:
    (chain,) = listener(Edge(("a:1",)))["filter_chains"]
    assert chain["transport_socket_connect_timeout"] == "10s"


def test_an_edge_that_ends_answers_what_it_has_accepted(fake: FakeTriton, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        with edge_before([fake], tmp_path) as (edge, _):
            client = stack.enter_context(ToonifyClient(edge.url))
            client.describe()
            fake.delay = 1.0
            answer = pool.submit(client.toonify, FACE)
            wait_until(lambda: fake.metadata)
        assert answer.result().shape == (1, 512, 512, 3)
    assert next(fake.attempts) == 1


def test_only_its_user_reads_the_files_of_a_running_edge(fake: FakeTriton, tmp_path: Path) -> None:
    with edge_before([fake], tmp_path, callers=KEYS) as (_, envoy):
        command = Path(f"/proc/{envoy.pid}/cmdline").read_text().split("\0")
        folder = Path(command[command.index("--config-path") + 1]).parent
        assert KEY not in " ".join(command)
        assert {path.name for path in folder.iterdir()} == {"admin"}  # a process that is killed leaves no keys
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
