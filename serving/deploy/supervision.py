"""``toonify edge``: one Envoy, started again whenever it ends, and replaced without a gap on SIGHUP."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from engines.contract.errors import ToonifyError
from serving.deploy.edge import Edge
from serving.deploy.envoy import Envoy, check_configuration
from serving.triton.log import claimed, rotate
from serving.triton.ports import free_ports
from serving.triton.restarts import Progress, pauses, signals_as_interrupt, tell

_TICK = 0.5
"""Seconds between two looks at the log's size and for a wish to reload."""
_CALM = 5.0
"""Seconds that an Envoy must have run for the pauses before restarts to begin anew."""


def run_edge(edge: Callable[[], Edge], *, log: Path, progress: Progress | None = None) -> None:
    """Run an edge until SIGINT or SIGTERM, then answer the accepted requests and return.

    An Envoy that ends by itself is started again, after growing pauses. On SIGHUP ``edge`` is called again, which reads
    keys and certificates from their files; an Envoy with the new configuration starts, and the old one answers what it
    has accepted. If the new one does not start, the old one stays.

    Args:
        edge: returns what the edge is to do; port 0 takes any free port, and the port stays that of the first call.
        log: file of Envoy's log, which has a line for each request.
        progress: called with a phrase at the start of every stage.

    Raises:
        ServerError: the first start fails, the port is taken, or another edge uses the log.
        RequestError: the first call of ``edge`` raises it.
    """
    progress = partial(tell, progress or (lambda phrase: None))
    first = edge()
    check_configuration(first)
    with ExitStack() as stack:
        stack.enter_context(claimed(log))
        port = free_ports(first.address, {"edge": first.port}, option="--port")["edge"]
        stack.enter_context(signals_as_interrupt())
        reload = stack.enter_context(_reload_requests())
        stack.enter_context(suppress(KeyboardInterrupt))
        with _Supervised(lambda: replace(edge(), port=port), log, progress) as supervised:
            supervised.watch(reload)


class _Supervised:
    """The Envoy that answers now; use it in a ``with`` block, which begins once one does."""

    def __init__(self, edge: Callable[[], Edge], log: Path, progress: Progress) -> None:
        self._edge, self._log, self._progress = edge, log, progress
        self._pauses = pauses()
        # What was replaced answers for up to a minute, in which the one in its place must be watched.
        self._replaced = ThreadPoolExecutor()

    def __enter__(self) -> _Supervised:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress("stopping the edge; accepted requests are answered first")
        self._envoy.close()
        self._replaced.shutdown()

    def watch(self, reload: threading.Event) -> None:
        """Start again what ends, and replace it when ``reload`` is set."""
        while True:
            if self._envoy.deaths.wait(_TICK):
                self._restart()
            rotate(self._log)
            if reload.is_set():
                reload.clear()
                self._reload()

    def _start(self) -> None:
        edge = self._edge()
        self._envoy, self._since = Envoy(edge, self._log), time.monotonic()
        self._progress(f"serving {', '.join(edge.upstreams)} at {edge.url}")

    def _restart(self) -> None:
        self._envoy.close()
        if time.monotonic() - self._since > _CALM:
            self._pauses = pauses()
        for pause in self._pauses:
            self._progress(f"restarting{f' in {pause:g} s' if pause else ''}: Envoy has ended, see {self._log}")
            time.sleep(pause)
            try:
                self._start()
            except ToonifyError as error:
                self._progress(str(error))
            else:
                return

    def _reload(self) -> None:
        before = self._envoy
        try:
            check_configuration(self._edge())
            self._start()
        except ToonifyError as error:
            self._progress(f"the edge stays as it is: {error}")
        finally:  # also where the command is told to stop meanwhile
            if self._envoy is not before:
                self._replaced.submit(before.close)


@contextmanager
def _reload_requests() -> Iterator[threading.Event]:
    """Yield what SIGHUP sets within the block."""
    requested = threading.Event()
    previous = signal.signal(signal.SIGHUP, lambda number, frame: requested.set())
    try:
        yield requested
    finally:
        signal.signal(signal.SIGHUP, previous)
