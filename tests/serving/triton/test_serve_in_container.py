"""``toonify serve`` as the command of a container: the first process, a read-only repository, logs, metrics, traces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from served_container import NAMESPACES, Collector, Container, child, container, needs_namespaces, start
from served_repository import make_slow, small_repository
from tiny_models import TinyModels, expected_pictures

from benchmarks.chaos.served import wait_until
from serving.client import ToonifyClient
from serving.triton.contents import write_contents
from serving.triton.process_group import PROC, command_line

pytestmark = [pytest.mark.triton, needs_namespaces]

FACE = np.random.default_rng(4).integers(0, 256, (1, 256, 256, 3), np.uint8)
ENSEMBLES = {"toonify", "toonify_jpeg", "toonify_plain", "toonify_plain_jpeg"}
STEPS = {"encoder", "condition", "generator_plain"}
TRACES = tuple(f"0af7651916cd43dd8448eb211c80319{number}" for number in range(3))
CLIENTS_SPAN = "b7ad6b7169203331"
CANARY = 0.3
"""Seconds between two requests of the canary."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def served(
    tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container")
    repository = small_repository(tiny_model_directories, folder)
    traces = ("--trace", collector.url, "--trace-rate", "0")
    soon = ["--trace-config=opentelemetry,bsp_schedule_delay=100"]
    with container(repository, folder, "--canary", str(CANARY), *traces, arguments=soon) as served:
        yield served


@pytest.fixture
def client(served: Container) -> Iterator[ToonifyClient]:
    with ToonifyClient(served.url) as client:
        yield client


def successes(served: Container) -> dict[str, int]:
    """How many requests each model has answered, as Prometheus reads it."""
    with urlopen(f"http://127.0.0.1:{served.ports['metrics']}/metrics") as answer:
        text = answer.read().decode()
    rows = re.findall(r'^nv_inference_request_success{model="(\w+)",version="1"} (\d+)$', text, re.MULTILINE)
    return {model: int(count) for model, count in rows}


def test_everything_is_said_on_standard_output_as_json(served: Container) -> None:
    assert {line["source"] for line in served.lines} == {"toonify", "triton"}
    messages = [line["message"] for line in served.lines]
    listening = f"Started GRPCInferenceService at 127.0.0.1:{served.ports['grpc']}"
    order = [messages.index("loading the models"), messages.index(listening)]
    order.append(next(number for number, message in enumerate(messages) if message.startswith("serving toonify")))
    assert order == sorted(order)
    assert all(line["time"].endswith("Z") and line["level"] in ("info", "warning", "error") for line in served.lines)


def test_the_server_on_path_is_used_with_the_configuration_for_this_machine(served: Container) -> None:
    (server,) = [line for process in served.processes() if "--model-repository" in str(line := command_line(process))]
    assert "--model-config-name=cpu" in server
    # The embedded server, as such, would get a prefix for its shared memory.
    assert "shm-region-prefix-name" not in str(server)


def test_nothing_is_written_where_the_repository_is(served: Container) -> None:
    inside = PROC / str(served.pid) / "root" / served.log.parent.relative_to("/") / "repository"
    with pytest.raises(OSError, match="Read-only file system"):
        (inside / "encoder" / "file").touch()
    assert not [path for path in served.log.parent.iterdir() if path.name.startswith("repository.")]


def test_http_tells_whether_it_is_ready(served: Container) -> None:
    with urlopen(f"http://127.0.0.1:{served.ports['http']}/v2/health/ready") as answer:
        assert answer.status == 200


def test_the_canary_asks_models_and_no_ensemble(served: Container, client: ToonifyClient) -> None:
    before, since = successes(served), time.monotonic()
    for _ in range(3):
        client.toonify(FACE)
    wait_until(lambda: successes(served)["encode_picture_32"] >= before["encode_picture_32"] + 3, "three canaries")
    after, until = successes(served), time.monotonic()
    asked = {model: after[model] - before[model] for model in after}
    assert {model: asked[model] for model in ENSEMBLES} == dict.fromkeys(ENSEMBLES, 0) | {"toonify": 3}
    # No client asks the step of another ensemble: each of its requests is one of the canary.
    canary = asked["encode_picture_32"]
    assert 3 <= canary <= (until - since) / CANARY + 1
    for step in STEPS:
        assert abs(asked[step] - 3 - canary) <= 1  # a round may have asked one of two models


def test_quantiles_of_times_are_told(served: Container) -> None:
    with urlopen(f"http://127.0.0.1:{served.ports['metrics']}/metrics") as answer:
        text = answer.read().decode()
    for model in ("toonify", "encoder"):
        for quantile in ("0.5", "0.95", "0.99"):
            assert f'nv_inference_request_summary_us{{model="{model}",version="1",quantile="{quantile}"}}' in text


def spans_of_a_request(served: Container, collector: Collector, trace: str) -> list[dict[str, Any]]:
    """The spans that arrive of a request in a client's trace; the first span in the server ends last."""

    def arrived() -> list[dict[str, Any]]:
        return [span for span in collector.spans if span["traceId"] == trace]

    with ToonifyClient(served.url, traceparent=f"00-{trace}-{CLIENTS_SPAN}-01") as client:
        assert np.array_equal(client.toonify(FACE), expected_pictures(FACE))
    with suppress(TimeoutError):
        wait_until(lambda: "InferRequest" in {span["name"] for span in arrived()}, "spans", seconds=20)
    return arrived()


def test_a_clients_trace_goes_on_in_the_server(served: Container, collector: Collector) -> None:
    # The server sends a span once: one that is lost on the way, as has happened, is not sent again.
    requests = (spans_of_a_request(served, collector, trace) for trace in TRACES)
    spans = next((spans for spans in requests if len(spans) == 2 + 2 * len(STEPS)), [])
    assert spans, collector.spans
    assert collector.services == {"toonify"}
    names = {span["spanId"]: span["name"] for span in spans} | {CLIENTS_SPAN: "the client"}
    parents = {span["name"]: names[span["parentSpanId"]] for span in spans if span["name"] != "compute"}
    assert parents == {"InferRequest": "the client", "toonify": "InferRequest"} | dict.fromkeys(STEPS, "toonify")
    assert sum(span["name"] == "compute" for span in spans) == len(STEPS)
    # Neither the canary nor a client without a trace of its own is traced at the rate 0.
    assert {span["traceId"] for span in collector.spans} <= {*TRACES}


def test_a_model_that_dies_is_served_again_and_leaves_no_process(served: Container, client: ToonifyClient) -> None:
    before = served.said("serving toonify")
    (model,) = [process for process in served.processes() if "/generator_plain/1/" in str(command_line(process))]
    count = len(served.processes())
    os.kill(model, signal.SIGKILL)
    wait_until(lambda: served.said("serving toonify") == before + 1, "a restart")
    assert np.array_equal(client.toonify(FACE), expected_pictures(FACE))
    (warning,) = [line for line in served.lines if line["source"] == "toonify" and line["level"] == "warning"]
    assert warning["message"].startswith("restarting: model 'generator_plain': got the end of its process")
    states = served.processes()
    assert "Z" not in states.values()
    assert len(states) == count


ASK = """
import sys
import numpy as np
from tiny_models import expected_pictures
from triton_requests import send
from tritonclient.grpc import InferenceServerClient
from benchmarks.chaos.served import wait_until

face = np.zeros((1, 256, 256, 3), np.uint8)
with InferenceServerClient("127.0.0.1:8001") as client, InferenceServerClient("127.0.0.1:8001") as other:
    answers = send(client, "toonify", [{"face": face}] * 12)
    wait_until(lambda: other.get_inference_statistics("encoder").model_stats[0].inference_count >= 12)
    print("accepted", flush=True)
    for answer in answers:
        assert np.array_equal(answer.result(), expected_pictures(face))
    print("answered", flush=True)
"""
"""A client of 12 pictures, which take two batches."""


def test_other_machines_reach_the_first_process_which_answers_what_was_accepted_when_it_is_told_to_stop(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path)
    make_slow(repository, seconds=0.5)
    write_contents(repository)
    anywhere = ("--address", "0.0.0.0", "--metrics-address", "0.0.0.0")
    with container(repository, tmp_path, *anywhere, own_network=True) as served:
        assert served.listening() == {8000, 8001, 8002}
        with served.inside(sys.executable, "-c", ASK) as client:
            assert client.stdout
            assert client.stdout.readline() == "accepted\n"
            assert served.stop() == 0
            assert client.stdout.read() == "answered\n"
    assert served.said("stopping the Triton server") == 1


def test_where_no_log_can_be_beside_the_repository_another_place_is_asked_for(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    (tmp_path / "volume").mkdir()
    repository = small_repository(tiny_model_directories, tmp_path / "volume")
    with start(
        repository, tmp_path, read_only=repository.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert b"got Read-only file system, expected a file that can be written; choose another with --log, or" in err


def test_the_first_process_heeds_a_signal_while_it_is_still_being_imported(tmp_path: Path) -> None:
    begin = f"from pathlib import Path; Path('{tmp_path}/begun').touch()"
    (tmp_path / "slow.py").write_text(f"{begin}; import time; time.sleep(60)")
    code = f"import sys; sys.path.append('{tmp_path}'); from serving.start import start; start('slow')"
    with subprocess.Popen([*NAMESPACES, sys.executable, "-c", code]) as process:
        wait_until((tmp_path / "begun").exists, "the import")
        os.kill(child(process), signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
