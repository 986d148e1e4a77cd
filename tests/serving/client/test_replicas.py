"""The clients and several servers, of which one leaves or fails; and what each refusal tells the user to do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from blocking_client import Blocking
from fake_triton import FakeTriton, running
from tritonclient.utils import InferenceServerException

from engines.contract.errors import AnswerError, RequestError, ServerError
from serving.client import AsyncToonifyClient, ToonifyClient, retries
from serving.client.addresses import Addresses, addresses_from
from serving.client.headers import MODEL_HEADER
from serving.client.retries import Retries

FACE = np.zeros((256, 256, 3), np.uint8)
DEAD = (
    grpc.StatusCode.INTERNAL,
    "in ensemble 'toonify', Failed to process the request(s) for model 'encoder_0_0', message: Stub process "
    "'encoder_0_0' is not healthy.",
)
WITHDRAWN = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'toonify' has no available versions")
STOPPING = (grpc.StatusCode.UNAVAILABLE, "in ensemble 'toonify', Server is stopping, scheduler not accepting requests")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(params=[ToonifyClient, Blocking], ids=["blocking", "asyncio"])
def client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def servers() -> Iterator[list[FakeTriton]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(FakeTriton())) for _ in range(3)]


def port_of(server: FakeTriton) -> str:
    return server.url.rpartition(":")[2]


@pytest.mark.parametrize("form", ["list", "commas", "ipv4:", "names"])
def test_several_servers_share_the_requests_evenly(client_class: Any, servers: list[FakeTriton], form: str) -> None:
    urls = [server.url for server in servers]
    url: Any = {
        "list": urls,
        "commas": ",".join(urls),
        "ipv4:": f"ipv4:{','.join(urls)}",
        "names": [f"localhost:{port_of(server)}" for server in servers],
    }[form]
    with client_class(url) as client:
        client.describe()
        for _ in range(30):  # until all connections are made, only some of the servers answer
            client.toonify(FACE)
            if all(server.requests for server in servers):
                break
        before = [len(server.requests) for server in servers]
        for _ in range(12):
            client.toonify(FACE)
    shares = [len(server.requests) - count for server, count in zip(servers, before, strict=True)]
    assert sum(shares) == 12
    assert min(shares) >= 2  # 4, unless a connection to another address of a name changes meanwhile


@pytest.mark.parametrize("failure", [DEAD, WITHDRAWN, STOPPING], ids=["dead", "withdrawn", "stopping"])
def test_no_call_is_lost_while_one_of_several_servers_fails_all(
    servers: list[FakeTriton], failure: tuple[grpc.StatusCode, str]
) -> None:
    servers[0].failures.extend([failure] * 10_000)
    with ToonifyClient([server.url for server in servers[:2]]) as client, ThreadPoolExecutor(4) as threads:
        pictures = [*threads.map(lambda _: client.toonify(FACE), range(80))]
    assert len(pictures) == len(servers[1].requests) == 80


def test_an_address_at_which_requests_fail_soon_gets_none(servers: list[FakeTriton]) -> None:
    dead, *_ = servers
    dead.failures.extend([DEAD] * 10_000)
    with ToonifyClient([server.url for server in servers]) as client:
        for _ in range(500):
            before = len(dead.metadata)
            for _ in range(6):  # two turns of three addresses
                client.toonify(FACE)
            if before and len(dead.metadata) == before:
                return
    pytest.fail("the address is still asked")


def test_a_server_that_ends_takes_no_call_with_it(client_class: Any) -> None:
    with running(FakeTriton()) as stays, ExitStack() as stack:
        leaves = stack.enter_context(running(FakeTriton()))
        with client_class([stays.url, leaves.url]) as client:
            for number in range(20):
                if number == 10:
                    stack.close()
                client.toonify(FACE)
    assert len(stays.requests) + len(leaves.requests) == 20


@pytest.mark.parametrize(("milliseconds", "attempts"), [("-1", 1), ("nonsense", 1), ("0", 3)])
def test_a_proxy_decides_whether_a_refused_request_comes_again(
    client_class: Any, fake: FakeTriton, milliseconds: str, attempts: int
) -> None:
    fake.trailing = (("grpc-retry-pushback-ms", milliseconds),)
    with client_class(fake.url) as client:
        client.describe()
        fake.failures.extend([(grpc.StatusCode.UNAVAILABLE, "reset reason: overflow")] * 2)
        if attempts == 1:
            with pytest.raises(ServerError, match="reset reason: overflow, expected room for one more request"):
                client.toonify(FACE)
        else:
            client.toonify(FACE)
    assert next(fake.attempts) == attempts


def test_a_deadline_ends_the_retries_with_the_last_reason(client_class: Any, fake: FakeTriton) -> None:
    with client_class(fake.url) as client:
        client.describe()
        fake.failures.extend([STOPPING] * 10)
        with pytest.raises(ServerError, match="Server is stopping"):
            client.toonify(FACE, timeout=1.0)
    assert next(fake.attempts) < retries.ATTEMPTS


def test_a_client_without_success_soon_repeats_nothing() -> None:
    policy, error = Retries(), InferenceServerException("down", "StatusCode.UNAVAILABLE")
    assert [policy.pause_after(error, 1) for _ in range(60)] == [0.0] * 60
    pauses = [policy.pause_after(error, 2) for _ in range(60)]
    assert all(0.1 <= pause <= 0.2 for pause in pauses[:49] if pause is not None)
    assert pauses.count(None) == 11
    assert policy.pause_after(error, 1) is None
    for _ in range(30):
        policy.succeeded()
    assert policy.pause_after(error, 1) == 0.0


@pytest.mark.parametrize(
    ("status", "message", "error", "sentence"),
    [
        (
            "UNAUTHENTICATED",
            "no token",
            RequestError,
            "expected a key or token that is known there; give one as a head",
        ),
        ("PERMISSION_DENIED", "RBAC: access denied", RequestError, "expected a caller who may ask this; have it allow"),
        ("UNKNOWN", "Payload Too Large", RequestError, "expected a request within the limit of the size; send fewer"),
        (
            "RESOURCE_EXHAUSTED",
            "Received message larger than max (9 vs. 4)",
            RequestError,
            "send fewer faces at a time",
        ),
        ("RESOURCE_EXHAUSTED", "too many", ServerError, "expected room for one more request; try again later"),
        ("UNAVAILABLE", "Exceeds maximum queue size", ServerError, "expected room for one more request; try again"),
        (DEAD[0].name, DEAD[1], ServerError, "restart that server, which toonify serve does by itself"),
        (WITHDRAWN[0].name, WITHDRAWN[1], ServerError, "wait until the model is served again"),
        ("INTERNAL", "broken", AnswerError, "expected an answer; see the log of the server"),
    ],
)
def test_every_refusal_says_what_to_do(
    client_class: Any,
    fake: FakeTriton,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    message: str,
    error: type[Exception],
    sentence: str,
) -> None:
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.0)
    fake.failures.extend([(grpc.StatusCode[status], message)] * 10)
    with client_class(fake.url) as client, pytest.raises(error) as caught:
        client.toonify(FACE)
    assert sentence in str(caught.value)
    assert "toonify serve." not in str(caught.value)  # a server runs, so none needs to be started


def test_a_key_is_sent_and_never_shown(client_class: Any, fake: FakeTriton) -> None:
    fake.failures.append((grpc.StatusCode.UNAUTHENTICATED, "unknown token s3cret-key of Bearer s3cret-key"))
    with client_class(fake.url, headers={"Authorization": "Bearer s3cret-key"}) as client:
        with pytest.raises(RequestError, match=r"got UNAUTHENTICATED: unknown token \*\*\* of \*\*\*, ") as caught:
            client.toonify(FACE)
        client.toonify(FACE)
    assert "s3cret" not in str(caught.value)
    assert fake.metadata[-1]["authorization"] == "Bearer s3cret-key"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-key": "s3cret\n"},
        {"x-key": "s3crét"},
        {"x-key": " s3cret"},
        {"x-key": ""},
        {"x key": "s3cret"},
        {"a-bin": "s3c"},
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers: dict[str, str]) -> None:
    with pytest.raises(RequestError, match=r"^header '(x.key|a-bin)': got a (value|name)") as caught:
        ToonifyClient(headers=headers)
    assert "s3c" not in str(caught.value)


def test_proxies_are_told_the_model_and_the_trace(client_class: Any, fake: FakeTriton) -> None:
    traces: list[str | None] = [TRACE, None]
    with client_class(fake.url, traceparent=lambda: traces[0]) as client:
        client.toonify(FACE)
        traces.pop(0)
        client.toonify_jpeg(b"\xff\xd8")
    assert [(sent[MODEL_HEADER], sent.get("traceparent")) for sent in fake.metadata] == [
        ("toonify", TRACE),
        ("toonify_jpeg", None),
    ]
    with client_class(fake.url, traceparent=TRACE) as client:
        client.toonify(FACE)
        with pytest.raises(RequestError, match="unknown model"):
            client.toonify(FACE, model="größer")  # not ASCII, as headers have to be
    assert fake.metadata[-1]["traceparent"] == TRACE


@pytest.mark.parametrize("trace", ["", "00-0-0-00", TRACE.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", f"{TRACE}\n"])
def test_a_trace_of_another_form_is_refused(trace: str) -> None:
    with pytest.raises(RequestError, match="traceparent: got "):
        ToonifyClient(traceparent=trace)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("triton:8001", Addresses("triton:8001", "triton:8001")),
        ("[::1]:8001", Addresses("[::1]:8001", "[::1]:8001")),
        ("https://triton", Addresses("triton:443", "triton:443", encrypted=True)),
        ("https://triton:8443/", Addresses("triton:8443", "triton:8443", encrypted=True)),
        ("dns:triton:8001", Addresses("dns:triton:8001", "dns:triton:8001")),
        ("unix:/run/edge", Addresses("unix:/run/edge", "unix:/run/edge")),
        (
            "127.0.0.1:1, 127.0.0.2:2",
            Addresses("127.0.0.1:1 or 127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2", False, "127.0.0.1"),
        ),
        (
            "ipv4:127.0.0.1:1,127.0.0.2:2",
            Addresses("127.0.0.1:1 or 127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2", False, "127.0.0.1"),
        ),
        (
            ["[::1]:1", "127.0.0.1:2"],
            Addresses("[::1]:1 or 127.0.0.1:2", "ipv6:[::1]:1,[::ffff:127.0.0.1]:2", False, "::1"),
        ),
        (
            ["https://127.0.0.1:1", "https://127.0.0.2:2"],
            Addresses("127.0.0.1:1 or 127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2", True, "127.0.0.1"),
        ),
        (
            ["127.0.0.1:1", "no-such.invalid:2"],
            Addresses("127.0.0.1:1 or no-such.invalid:2", "ipv4:127.0.0.1:1", False, "127.0.0.1"),
        ),
    ],
)
def test_addresses_may_be_written_in_many_ways(url: str | list[str], expected: Addresses) -> None:
    assert addresses_from(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:8001", r"^url 'http://127\.0\.0\.1:8001': got a scheme, expected HOST:PORT"),
        ("triton", "^url 'triton': got something else, expected HOST:PORT"),
        ("triton:99999", "^url 'triton:99999': got something else"),
        ("", "^url '': got something else"),
        ([], "^url : got "),
        ("https://user:s3cret@triton:8443", r"^url '\*\*\*@triton:8443': got a? ?s"),
        (["https://a:1", "b:2"], "got some with https:// and some without"),
    ],
)
def test_an_address_of_another_form_is_one_sentence(url: str | list[str], message: str) -> None:
    for client in (ToonifyClient, AsyncToonifyClient):
        with pytest.raises(RequestError, match=message) as caught:
            client(url)
        assert "s3cret" not in str(caught.value)


def test_shared_memory_is_for_one_server() -> None:
    with pytest.raises(RequestError, match=r"shared memory with 127\.0\.0\.1:1 or 127\.0\.0\.2:1: got several servers"):
        ToonifyClient(["127.0.0.1:1", "127.0.0.2:1"], shared_memory=True)


def test_several_names_of_which_none_is_known_are_one_sentence() -> None:
    with pytest.raises(ServerError, match=r"^servers at a\.invalid, b\.invalid: got names that are not known here"):
        addresses_from(["a.invalid:1", "b.invalid:1"])
