"""``serve`` with the real server: signals, killed and hung processes, requests in flight, a second ``serve``."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from served_repository import make_slow, small_repository
from tiny_models import TinyModels, expected_pictures
from triton_requests import picture
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from benchmarks.chaos import served as chaos
from benchmarks.chaos.served import Serving, wait_until
from engines.contract.errors import ServerError
from serving.triton.ports import is_listening
from serving.triton.supervision import serve

pytestmark = pytest.mark.triton

FACE = np.random.default_rng(4).integers(0, 256, (1, 256, 256, 3), np.uint8)
UNKNOWN = "Request for unknown model: 'toonify' has no available versions"
"""What Triton answers at the door once an ensemble is withdrawn."""


@pytest.fixture
def repository(tiny_model_directories: TinyModels, tmp_path: Path) -> Path:
    return small_repository(tiny_model_directories, tmp_path)


def serving(repository: Path, *, interval: float = 0.2, patience: float = 60) -> AbstractContextManager[Serving]:
    """``serve`` with all its files in the test's own folder."""
    return chaos.serving(repository, repository.parent, interval=interval, patience=patience)


def port_of(served: Serving) -> int:
    return int(served.url.rpartition(":")[2])


def assert_it_answers(served: Serving) -> None:
    with InferenceServerClient(served.url) as client:
        assert np.array_equal(picture(client, "toonify", face=FACE), expected_pictures(FACE))


def requests_until_refused(url: str) -> Counter[str]:
    """Send requests one after the other until one is refused, and count the answers by their error, "" if none."""
    outcomes: Counter[str] = Counter()
    with InferenceServerClient(url) as client:
        while set(outcomes) <= {""}:
            try:
                picture(client, "toonify", face=FACE)
                outcomes[""] += 1
            except InferenceServerException as error:
                outcomes[error.message()] += 1
    return outcomes


@pytest.mark.parametrize("slow_condition", [False, True], ids=["one slow step", "two slow steps"])
def test_of_requests_sent_without_pause_none_is_lost_when_serve_is_told_to_stop(
    repository: Path, slow_condition: bool
) -> None:
    make_slow(repository, seconds=0.02)
    if slow_condition:
        make_slow(repository, "condition", seconds=0.02)
    answers: list[Counter[str]] = []
    with serving(repository) as served:
        threads = [
            threading.Thread(target=lambda: answers.append(requests_until_refused(served.url))) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        threading.Event().wait(2)
        served.process.terminate()
        for thread in threads:
            thread.join()
        assert served.process.wait(60) == 0
    total = sum(answers, Counter[str]())
    assert total[""] > 16
    assert set(total) == {"", UNKNOWN}, total


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_serve_in_order(repository: Path, number: signal.Signals) -> None:
    with serving(repository) as served:
        served.process.send_signal(number)
        assert served.process.wait(60) == 0
    assert not served.processes()
    assert not is_listening("127.0.0.1", port_of(served))


def test_a_second_signal_ends_a_server_that_hangs(repository: Path) -> None:
    with serving(repository) as served:
        regions = served.regions()
        os.kill(served.server(), signal.SIGSTOP)
        served.process.terminate()
        wait_until(lambda: served.phrases("stopping"))
        served.process.terminate()
        assert served.process.wait(60) == 0
    assert regions
    assert not [region for region in regions if region.exists()]
    wait_until(lambda: not served.processes())


@pytest.mark.skipif(not shutil.which("setpriv"), reason="without setpriv a killed parent leaves its server running")
def test_a_server_ends_when_the_process_that_started_it_is_killed(repository: Path) -> None:
    with serving(repository) as served:
        regions = served.regions()
        served.process.kill()
        wait_until(lambda: not served.processes())
    assert not [region for region in regions if region.exists()]
    assert not is_listening("127.0.0.1", port_of(served))


@pytest.mark.parametrize("name", ["condition", "encode_picture_32", "generator_plain"])
def test_a_killed_model_is_named_and_served_again(repository: Path, name: str) -> None:
    with serving(repository, interval=1000) as served:  # no canary: the death itself is noticed
        os.kill(served.model(name), signal.SIGKILL)
        wait_until(lambda: served.phrases("serving toonify") == 2)
        assert_it_answers(served)
        assert served.phrases(f"restarting: model '{name}': got the end of its process") == 1


def test_a_server_is_restarted_as_often_as_it_dies(repository: Path) -> None:
    with serving(repository, interval=1000) as served:
        for time in range(3):
            os.kill(served.server(), signal.SIGKILL)
            wait_until(lambda: served.phrases("serving toonify") == time + 2)  # noqa: B023  # called at once
            assert_it_answers(served)
        assert served.phrases("restarting in 1 s") == 1
        assert served.phrases("restarting in 2 s") == 1


@pytest.mark.parametrize("model", ["encoder", "classifier", None], ids=lambda model: model or "the server")
def test_a_stopped_process_is_found_by_the_canary(
    tiny_model_directories: TinyModels, tmp_path: Path, model: str | None
) -> None:
    repository = small_repository(tiny_model_directories, tmp_path, edits=model == "classifier")
    with serving(repository, patience=3) as served:
        os.kill(served.model(model) if model else served.server(), signal.SIGSTOP)
        wait_until(lambda: served.phrases("serving toonify") == 2)
        assert_it_answers(served)


def test_a_server_with_a_long_queue_is_not_restarted(repository: Path) -> None:
    make_slow(repository, seconds=1)
    with serving(repository, patience=3) as served, InferenceServerClient(served.url) as client:
        answered = threading.Semaphore(0)
        tensor = InferInput("face", list(FACE.shape), "UINT8")
        tensor.set_data_from_numpy(FACE)
        for _ in range(100):  # 13 batches of 8: the canary waits for longer than its patience
            client.async_infer("toonify", [tensor], lambda result, error: answered.release() if result else None)
        for _ in range(100):
            assert answered.acquire(timeout=60)
        assert served.phrases("restarting") == 0


def test_a_second_serve_of_a_repository_leaves_the_log_of_the_first_alone(repository: Path) -> None:
    log = repository.with_name("repository.log")
    with serving(repository):
        before = log.read_bytes()
        with pytest.raises(ServerError, match=r"repository\.log: got the log of a server that is running, .*--log"):
            serve(repository, grpc_port=0, metrics_port=0)
        assert log.read_bytes().startswith(before)
        assert before


def test_a_repository_may_change_while_it_is_served(repository: Path) -> None:
    with serving(repository) as served:
        before = sorted(served.processes())
        for path in (*repository.rglob("model.py"), *repository.rglob("*.pbtxt")):
            path.touch()
        (repository / "encoder/1/new").touch()
        threading.Event().wait(3)  # Triton looks every second
        assert sorted(served.processes()) == before
