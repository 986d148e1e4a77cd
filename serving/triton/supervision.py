"""``toonify serve``: one server, restarted whenever it fails, until this process is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from engines.contract.errors import ToonifyError
from serving.triton.arguments import Trace
from serving.triton.canary import PATIENCE
from serving.triton.outputs import Log
from serving.triton.restarts import Progress, pauses, signals_as_interrupt, tell
from serving.triton.runtime import Runtime
from serving.triton.scratch import shortages
from serving.triton.server import CANARY_INTERVAL, TritonServer, check_repository

CALM = 600.0
"""Seconds without a failure after which the pauses before restarts begin anew."""


def serve(
    repository: Path,
    *,
    address: str = "127.0.0.1",
    grpc_port: int = 8001,
    http_port: int | None = None,
    metrics_port: int | None = 8002,
    metrics_address: str | None = None,
    allow_shared_memory: bool = False,
    check: Callable[[], None] = lambda: None,
    log: Path | Log | None = None,
    runtime: Runtime | None = None,
    cache: Path | None = None,
    trace: Trace | None = None,
    arguments: Sequence[str] = (),
    progress: Progress | None = None,
    canary_interval: float = CANARY_INTERVAL,
    patience: float = PATIENCE,
) -> None:
    """Serve a repository until SIGINT or SIGTERM, then answer the accepted requests and return.

    A server of which a process has died or hangs is restarted: at once, then after 1, 2, 4 ... 60 s until a start
    succeeds, for as long as it takes, since what fails after a first success, such as memory or a disk, may recover. A
    second signal ends the server at once. ``check`` is called before every start, and raises a ToonifyError if the
    repository must not be served. ``log`` defaults to ``default_log(repository)``, ``canary_interval`` are the seconds
    between requests that show whether a model hangs (0 for none), and the other arguments are those of
    ``TritonServer``.

    Raises:
        ServerError: the first start fails, another server uses the log, or it cannot be written.
        RequestError: one of the arguments is no option of Triton, or is one that is set here.
        ToonifyError: the first ``check`` raises it.
    """
    progress = partial(tell, progress or (lambda phrase: None))
    server = TritonServer(
        repository,
        log=log or default_log(repository),
        address=address,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        metrics_address=metrics_address,
        allow_shared_memory=allow_shared_memory,
        runtime=runtime,
        cache=cache,
        trace=trace,
        arguments=arguments,
        progress=progress,
        patience=patience,
    )
    check_repository(repository)
    check()
    with ExitStack() as stack:
        stack.enter_context(server.log.claimed())
        stack.enter_context(signals_as_interrupt())
        stack.enter_context(suppress(KeyboardInterrupt))
        stack.enter_context(server)
        _serve_until_interrupted(server, check, progress, canary_interval)


def default_log(repository: Path) -> Path:
    """Return the path of the log beside a repository."""
    return repository.resolve().with_name(f"{repository.resolve().name}.log")


def _serve_until_interrupted(
    server: TritonServer, check: Callable[[], None], progress: Progress, canary_interval: float
) -> None:
    left = pauses()
    while True:
        progress(f"serving {', '.join(server.ensembles)} at {server.url}")
        start = time.monotonic()
        failure = server.watch(canary_interval)
        if time.monotonic() - start > CALM:
            left = pauses()
        _restart(server, check, failure, left, progress)


def _restart(
    server: TritonServer,
    check: Callable[[], None],
    failure: ToonifyError,
    left: Iterator[float],
    progress: Progress,
) -> None:
    """Stop the server, and start it as often as it takes, after the pauses that are left."""
    server.stop()
    for pause in left:
        progress(f"restarting{f' in {pause:g} s' if pause else ''}: {failure}")
        time.sleep(pause)
        try:
            with shortages():
                check()
            server.start()
        except ToonifyError as error:
            failure = error
        else:
            return
