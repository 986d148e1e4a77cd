"""A Triton server as a child process: started, watched, and stopped without leaving anything behind."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.contract.errors import ServerError
from engines.loading import CACHE_VARIABLE
from serving.triton.canary import Canary
from serving.triton.installation import (
    SHARED_MEMORY,
    Installation,
    best_runtime,
    check_shared_memory,
    find_installation,
)
from serving.triton.log import reason_of_failure
from serving.triton.model_configurations import Runtime
from serving.triton.ports import free_ports, is_listening, is_loopback
from serving.triton.process_group import process_group

START_TIMEOUT = 600.0
"""Seconds within which every model must be loaded, including the compilation of engines."""

DRAIN_TIMEOUT = 60.0
"""Seconds for answering the accepted requests when a healthy server stops."""

CANARY_INTERVAL = 30.0
"""Seconds between canary inferences, each of which costs the computation of a picture."""

RESTART_INTERVAL = 600.0
"""Seconds after a restart within which another failure ends ``serve``."""

_BROKEN_DRAIN_TIMEOUT = 5.0  # a server with a dead process never finishes draining

Progress = Callable[[str], None]


class TritonServer:
    """A Triton server in its own process group; use it in a ``with`` block, which begins once every ensemble answers.

    Inside the block ``url`` (HOST:PORT of gRPC), ``ports`` (by "grpc", "http" and "metrics"), ``pid`` and ``ensembles``
    (names) are valid.
    """

    def __init__(
        self,
        repository: Path,
        *,
        log: Path,
        address: str = "127.0.0.1",
        grpc_port: int = 8001,
        http_port: int = 8000,
        metrics_port: int = 8002,
        runtime: Runtime | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            repository: the model repository to serve.
            log: file to which the server's output is appended.
            address: address to listen on; the embedded server accepts loopback addresses only.
            grpc_port: port for inference; for this port and the others, 0 selects any free port.
            http_port: port for health checks.
            metrics_port: port for Prometheus.
            runtime: the configuration of the engine models to use; None selects the best that this machine can run.
            cache: folder in which engines keep compiled models for the next start; it is created if it is missing.
            progress: called with a phrase at the start of every stage.
        """
        self.repository, self.log, self.address = repository.resolve(), log, address
        self.ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.ensembles: list[str] = []
        self.shared_memory_prefix = f"toonify_{uuid.uuid4().hex[:12]}_"
        self._runtime = runtime
        self._cache = cache
        self._progress = progress or (lambda phrase: None)
        self._drain_timeout = _BROKEN_DRAIN_TIMEOUT
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """HOST:PORT of the gRPC endpoint."""
        return f"{self._host}:{self.ports['grpc']}"

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        return self._process.pid

    def start(self) -> None:
        """Start the server, and return when every ensemble has answered a canary inference.

        Raises:
            ServerError: no server is installed, a port is taken, a model does not load, or an ensemble does not
                answer; nothing is left running.
        """
        _check_repository(self.repository)
        with ExitStack() as stack:
            self._progress("starting the Triton server")
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toonify-", dir=_scratch_parent())))
            installation = find_installation(scratch)
            self._refuse_open_address(installation)
            self.ports = free_ports(self.address, self.ports)
            check_shared_memory(len([*self.repository.glob("*/1/model.py")]))
            self._drain_timeout = _BROKEN_DRAIN_TIMEOUT
            stack.callback(self._free_shared_memory)
            self._log_start = self.log.stat().st_size if self.log.exists() else 0
            command = [str(installation.executable), *installation.arguments, *self._arguments(installation, scratch)]
            environment = {**installation.environment, **self._cache_variable()}
            group = process_group(command, environment=environment, log=self.log)
            self._process = stack.enter_context(group)
            stack.callback(self._terminate)
            self._progress("loading the models")
            self._wait_until_listening()
            self._canary = stack.enter_context(Canary(self.url))
            self.ensembles = self._canary.ensembles()
            self._progress(f"asking {len(self.ensembles)} ensembles for a picture")
            for ensemble in self.ensembles:
                self._canary.ask(ensemble)
            self._drain_timeout = DRAIN_TIMEOUT + 5  # the extra seconds are for Triton's own shutdown
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Refuse new requests, answer the accepted ones, end every process and free the shared memory."""
        self._stack.close()

    def watch(self, interval: float = CANARY_INTERVAL) -> ServerError:
        """Block until the server has died or an ensemble no longer answers, and return the error.

        Triton's own readiness check does not notice that the process of a python model has died: before release 26.04
        the model stays "ready" and fails every request.
        """
        # These ensembles use the processes of all models; the other ensembles consist of the same models.
        watched = [name for name in self.ensembles if name.endswith("_jpeg") and name != "toonify_jpeg"]
        while True:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(interval)
                return self._exit_error()
            try:
                for ensemble in watched or self.ensembles:
                    self._canary.ask(ensemble)
            except ServerError as failure:
                self._drain_timeout = _BROKEN_DRAIN_TIMEOUT
                return failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _host(self) -> str:
        return "127.0.0.1" if self.address == "0.0.0.0" else self.address

    def _refuse_open_address(self, installation: Installation) -> None:
        if installation.embedded and not is_loopback(self.address):
            raise ServerError(
                f"address {self.address}",
                got="an address that other machines can reach, for the embedded server with its known vulnerabilities",
                expected="a loopback address",
                remedy="serve other machines from NVIDIA's tritonserver container, 26.05 or newer",
            )

    def _arguments(self, installation: Installation, scratch: Path) -> Iterator[str]:
        yield f"--model-repository={_shell_safe(self.repository, scratch / 'models')}"
        for service, port in self.ports.items():
            yield f"--{service}-address={self.address}"
            yield f"--{service}-port={port}"
        if installation.embedded:
            # The prefix identifies the shared memory that this server leaves behind if it is killed. Newer servers
            # protect the default prefix against clients, and clean up by themselves.
            yield f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}"
        yield "--disable-auto-complete-config"
        yield f"--exit-timeout-secs={DRAIN_TIMEOUT:.0f}"
        runtime = self._runtime or best_runtime(self.repository, installation)
        if runtime == "cpu":
            yield "--allow-gpu-metrics=false"
        if runtime != "tensorrt":
            yield f"--model-config-name={runtime}"

    def _cache_variable(self) -> dict[str, str]:
        if self._cache is None:
            return {}
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(
                f"cache {self._cache}",
                got=error.strerror or str(error),
                expected="a folder that exists or can be made",
                remedy="choose another with --cache, or leave it out",
            ) from None
        return {CACHE_VARIABLE: str(self._cache.resolve())}

    def _terminate(self) -> None:
        if self._process.poll() is None:
            self._progress("stopping the Triton server; accepted requests are answered first")
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._drain_timeout)

    def _free_shared_memory(self) -> None:
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    def _wait_until_listening(self) -> None:
        """Wait for the server to open its ports, which it does when all models are loaded."""
        deadline = time.monotonic() + START_TIMEOUT
        while not is_listening(self._host, self.ports["grpc"]):
            if self._process.poll() is not None:
                raise self._exit_error()
            if time.monotonic() > deadline:
                raise ServerError(
                    "Triton server",
                    got=f"no answer for {START_TIMEOUT:.0f} s",
                    expected="all models loaded",
                    remedy=f"see {self.log}",
                )
            time.sleep(0.1)

    def _exit_error(self) -> ServerError:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            reason = reason_of_failure(log.read().decode(errors="replace"))
        return ServerError(
            "Triton server",
            got=reason or f"the end of its process with exit code {self._process.poll()}",
            expected="a running server",
            remedy=f"see {self.log}",
        )


def serve(
    repository: Path,
    *,
    address: str = "127.0.0.1",
    grpc_port: int = 8001,
    http_port: int = 8000,
    metrics_port: int = 8002,
    log: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    canary_interval: float = CANARY_INTERVAL,
) -> None:
    """Serve a repository until SIGINT or SIGTERM, then answer the accepted requests and return.

    A server that has died or stopped answering is restarted, since a dead python model never recovers by itself and
    most installations have no supervisor. Another failure within ten minutes of a restart ends ``serve``, so that a
    supervisor of this process notices it. A second signal ends the server at once. ``log`` defaults to
    ``<repository>.log``; the other arguments are those of ``TritonServer``.

    Raises:
        ServerError: the server does not start, or fails again within ten minutes of a restart.
    """
    log = log or repository.resolve().with_name(f"{repository.resolve().name}.log")
    log.unlink(missing_ok=True)
    progress = progress or (lambda phrase: None)
    server = TritonServer(
        repository,
        log=log,
        address=address,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        cache=cache,
        progress=progress,
    )
    with _signals_as_interrupt(), suppress(KeyboardInterrupt), server:
        last_restart = -RESTART_INTERVAL
        while True:
            progress(f"serving {', '.join(server.ensembles)} at {server.url}")
            failure = server.watch(canary_interval)
            if time.monotonic() - last_restart < RESTART_INTERVAL:
                raise failure
            progress(f"restarting: {failure}")
            server.stop()
            server.start()
            last_restart = time.monotonic()


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    # SIGINT is included because a shell without job control starts background commands with SIGINT ignored, and Python
    # keeps that setting.
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_shell_safe(path: Path) -> bool:
    return re.fullmatch(r"[\w.,:+@%=/-]+", str(path), re.ASCII) is not None


def _scratch_parent() -> str | None:
    """Return "/tmp" if the path of the user's folder for temporary files is not shell-safe, else None (the default)."""
    return None if _is_shell_safe(Path(tempfile.gettempdir())) else "/tmp"


def _shell_safe(path: Path, link: Path) -> Path:
    """Return the path, or if it has characters that a shell interprets, ``link`` after making it a link to the path.

    Triton's python backend starts its processes by ``bash -c`` with unquoted paths: a space in one ends the process
    while the server waits for it forever, and ``$(command)`` would be executed.
    """
    if _is_shell_safe(path):
        return path
    link.symlink_to(path)
    return link


def _check_repository(repository: Path) -> None:
    if not any(repository.glob("*/config.pbtxt")):
        raise ServerError(
            str(repository),
            got="no folder with model configurations",
            expected="a model repository",
            remedy="write one with toonify-export repository",
        )
