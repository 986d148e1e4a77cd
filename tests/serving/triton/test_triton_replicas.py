"""Several real servers of the same models, of which one stops and one loses a model's process under load."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from served_repository import small_repository
from tiny_models import TinyModels, expected_pictures

from benchmarks.chaos.served import wait_until
from engines.contract.errors import ToonifyError
from serving.client import ToonifyClient
from serving.triton.server import TritonServer
from serving.triton.stopping import names_of_processes

pytestmark = pytest.mark.triton

FACE = np.random.default_rng(4).integers(0, 256, (1, 256, 256, 3), np.uint8)


class Load:
    """Four threads that share a client and send without pause; ``outcomes`` counts their calls, "" for a picture."""

    def __init__(self, client: ToonifyClient) -> None:
        self.outcomes: Counter[str] = Counter()
        self._client = client
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, number: int = 40) -> None:
        """Wait until so many more calls have ended."""
        goal = self.outcomes.total() + number
        wait_until(lambda: self.outcomes.total() >= goal, f"{goal} calls")

    def _send(self) -> None:
        while not self._ended.is_set():
            try:
                assert np.array_equal(self._client.toonify(FACE), expected_pictures(FACE))
                self.outcomes[""] += 1
            except ToonifyError as error:
                self.outcomes[str(error)] += 1


def test_no_call_is_lost_when_one_server_loses_a_process_and_another_stops(
    triton_server: TritonServer, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    servers = []
    for name in ("dies", "stops"):
        (tmp_path / name).mkdir()
        repository = small_repository(tiny_model_directories, tmp_path / name)
        servers.append(TritonServer(repository, log=tmp_path / name / "log", grpc_port=0, metrics_port=0))
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        dies, stops = threads.map(stack.enter_context, servers)
        urls = [server.url for server in (triton_server, dies, stops)]
        with ToonifyClient(urls) as client, Load(client) as load:
            load.wait_for_more()
            (process,) = [i for i, name in names_of_processes(dies.pid).items() if name == "model 'generator_plain'"]
            os.kill(process, signal.SIGKILL)  # nothing restarts it, so this server refuses all requests from now on
            load.wait_for_more()
            stops.stop()
            load.wait_for_more()
    assert set(load.outcomes) == {""}, load.outcomes
