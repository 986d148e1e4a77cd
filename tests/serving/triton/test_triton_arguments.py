"""What ``toonify serve`` lets its user tell Triton, and what it tells Triton itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from toonify_command import Toonify

from engines.contract.errors import RequestError, ServerError
from serving.triton import server as server_module
from serving.triton.arguments import Trace, check_arguments
from serving.triton.installation import Installation, check_embedded
from serving.triton.server import TritonServer

COLLECTOR = "http://127.0.0.1:4318/v1/traces"


def arguments_of(server: TritonServer, *, embedded: bool = True) -> list[str]:
    """What a server would be started with."""
    server._models = SimpleNamespace(folder=Path("/models"))  # type: ignore[assignment]
    return [*server._arguments(Installation(Path("tritonserver"), (), {}, embedded))]


def server(tmp_path: Path, **options: object) -> TritonServer:
    return TritonServer(tmp_path, log=tmp_path / "log", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("has_gpu", [True, False])
def test_whatever_the_package_tells_triton_is_refused_to_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool, has_gpu: bool
) -> None:
    monkeypatch.setattr(server_module, "has_gpu", lambda: has_gpu)
    told = {
        argument
        for ports in ({"http_port": 1}, {"metrics_port": None})
        for argument in arguments_of(server(tmp_path, trace=Trace(COLLECTOR), **ports), embedded=embedded)
    }
    assert len(told) > 20
    for argument in told:
        with pytest.raises(RequestError, match="got an option that toonify serve sets itself, expected other"):
            check_arguments([argument], traced=True)


@pytest.mark.parametrize(
    "argument",
    ["--http-addr=0.0.0.0", "--allow-h=true", "--log-file=x", "--grpc-use-ssl=true", "--allow-vertex-ai=true", "--lo"],
)
def test_a_short_form_and_a_further_door_are_refused(argument: str) -> None:
    with pytest.raises(RequestError, match=rf"argument {argument.partition('=')[0]}: got an option that"):
        check_arguments([argument])


@pytest.mark.parametrize("argument", ["build/repository", "-v", "1", "--", "--=1", ""])
def test_what_is_no_option_is_refused(argument: str) -> None:
    with pytest.raises(RequestError, match="something else than an option of Triton, expected --NAME or --NAME=VALUE"):
        check_arguments(["--log-verbose=1", argument])


def test_other_options_reach_triton_last(tmp_path: Path) -> None:
    own = [
        "--log-verbose=1",
        "--metrics-config=counter_latencies=false",
        "--trace-config=rate=7",
        "--log-format=ISO8601",
    ]
    assert arguments_of(server(tmp_path, arguments=own))[-4:] == own


def test_metrics_can_be_closed_and_have_an_address_of_their_own(tmp_path: Path) -> None:
    closed = arguments_of(server(tmp_path, metrics_port=None))
    assert "--allow-metrics=false" in closed
    assert not [argument for argument in closed if argument.startswith("--metrics")]
    other = arguments_of(server(tmp_path, metrics_address="127.0.0.2", address="127.0.0.3", http_port=4))
    addresses = ["--grpc-address=127.0.0.3", "--http-address=127.0.0.3", "--metrics-address=127.0.0.2"]
    assert [argument for argument in other if "-address=" in argument] == addresses


def test_addresses_of_ipv6_are_spelt_as_triton_reads_them(tmp_path: Path) -> None:
    told = arguments_of(server(tmp_path, address="::", metrics_address="::1", http_port=4))
    addresses = ["--grpc-address=[::]", "--http-address=ipv6:::", "--metrics-address=ipv6:::1"]
    assert [argument for argument in told if "-address=" in argument] == addresses


def test_a_gpu_is_measured_by_nvidias_server_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "has_gpu", lambda: True)
    for runtime in ("cpu", "onnxruntime"):
        own = server(tmp_path, runtime=runtime)
        assert "--allow-gpu-metrics=false" in arguments_of(own, embedded=True)
        assert "--allow-gpu-metrics=false" not in arguments_of(own, embedded=False)
        assert f"--model-config-name={runtime}" in arguments_of(own, embedded=False)


def test_the_embedded_server_has_one_runtime_and_loopback_only() -> None:
    embedded, nvidias = (Installation(Path("tritonserver"), (), {}, kind) for kind in (True, False))
    check_embedded(embedded, ["127.0.0.1", "localhost"], "cpu")
    check_embedded(nvidias, ["0.0.0.0"], "tensorrt")
    with pytest.raises(ServerError, match=r"embedded Triton server: got the runtime tensorrt, expected cpu"):
        check_embedded(embedded, ["127.0.0.1"], "tensorrt")
    with pytest.raises(ServerError, match=r"address 0\.0\.0\.0: got an address that other machines can reach"):
        check_embedded(embedded, ["127.0.0.1", "0.0.0.0"], None)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:4318", r"--trace: got 'localhost:4318', expected http://HOST:PORT/v1/traces"),
        ("http:///v1/traces", "got 'http:///v1/traces', expected"),
        ("", "--trace: got '', expected"),
        ("http://[::1/v1/traces", r"got 'http://\[::1/v1/traces', expected"),
        ("http://a:b:c/v1/traces", "got 'http://a:b:c/v1/traces', expected"),
        ("http://host:99999/v1/traces", "got 'http://host:99999/v1/traces', expected"),
        ("http://host:0/v1/traces", "got 'http://host:0/v1/traces', expected"),
        ("http://host/ v1", "got 'http://host/ v1', expected"),
        ("http://host/\n", "got 'http://host/.n', expected"),
        ("https://user:secret@host/v1/traces", "got an address with a user's name, expected one without keys"),
    ],
)
def test_an_address_for_traces_that_cannot_be_used_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        Trace(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("rate", [-1, 2**31])
def test_a_rate_that_triton_cannot_read_is_refused(rate: int) -> None:
    with pytest.raises(RequestError, match=f"--trace-rate: got {rate}, expected a number from 0 to 2147483647"):
        Trace(COLLECTOR, rate)


def test_a_port_that_is_none_is_refused_by_every_command(toonify: Toonify, tmp_path: Path) -> None:
    options = [("serve", f"--{service}-port") for service in ("grpc", "http", "metrics")]
    for command, option in [*options, ("studio", "--port"), ("edge", "--port")]:
        for port in (-1, 65536):
            code, _, err = toonify(command, option, port)
            assert code == 2
            assert f"Invalid value for '{option}'" in err


def test_the_command_refuses_what_contradicts_itself(toonify: Toonify, tmp_path: Path) -> None:
    options = {
        ("--no-metrics", "--metrics-address", "127.0.0.1"): "--metrics-address: got it with --no-metrics",
        ("--no-metrics", "--metrics-address", ""): "--metrics-address: got it with --no-metrics",
        ("--", "--http-port=80"): "argument --http-port: got an option that toonify serve sets itself",
        ("build/repository",): "argument 'build/repository': got something else than an option",
        ("--trace", "collector"): "--trace: got 'collector', expected",
        ("--trace", ""): "--trace: got '', expected",
    }
    for given, sentence in options.items():
        code, out, err = toonify("serve", "--repository", tmp_path, *given)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {sentence}")
        assert err.count("\n") == 1
