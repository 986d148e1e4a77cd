"""Clients that send requests without pause, and what became of each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from engines.contract.closing import Closing

_AT_THE_DOOR = ("has no available versions", "failed to connect", "Connection refused")
"""What an error says if the request was never accepted: the ensemble is withdrawn, or no server listens."""


@dataclass(frozen=True)
class Outcome:
    """A request: seconds of the monotonic clock when it was sent and when it ended, and its error, "" for an answer."""

    start: float
    end: float
    error: str

    @property
    def refused(self) -> bool:
        """Whether it was refused before it was accepted, so that the client may send it elsewhere."""
        return any(text in self.error for text in _AT_THE_DOOR)

    @property
    def withdrawn(self) -> bool:
        """Whether it was refused since the server is stopping, and accepts nothing any more."""
        return _AT_THE_DOOR[0] in self.error

    @property
    def lost(self) -> bool:
        """Whether it was accepted, or may have been, and not answered."""
        return bool(self.error) and not self.refused


Ask = Callable[[], str]
"""Sends one request, and returns its error, "" for an answer."""


@contextmanager
def plain_client(url: str) -> Iterator[Ask]:
    """A client of NVIDIA's library, which repeats nothing: it asks for pictures of a black face."""
    face = InferInput("face", [1, 256, 256, 3], "UINT8")
    face.set_data_from_numpy(np.zeros((1, 256, 256, 3), np.uint8))

    def ask() -> str:
        try:
            client.infer("toonify", [face], client_timeout=60)
        except InferenceServerException as failure:
            return str(failure)
        return ""

    with InferenceServerClient(url) as client:
        yield ask


class Load(Closing):
    """Threads with a client each; use it in a ``with`` block, at whose end they stop."""

    def __init__(
        self, url: str, threads: int = 8, client: Callable[[str], AbstractContextManager[Ask]] = plain_client
    ) -> None:
        """Start sending."""
        self.outcomes: list[Outcome] = []
        self._client = client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url,)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def answered(self, after: float = 0.0) -> int:
        """Number of answers to requests that were sent after a time."""
        return sum(not outcome.error and outcome.start > after for outcome in self.outcomes)

    def close(self) -> None:
        """Send nothing more, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, url: str) -> None:
        with self._client(url) as ask:
            while not self._stop.is_set():
                start = time.monotonic()
                error = ask()
                self.outcomes.append(Outcome(start, time.monotonic(), error))
                if error:
                    self._stop.wait(0.05)
