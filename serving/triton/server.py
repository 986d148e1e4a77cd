"""A Triton server as a child process: started, watched, and stopped without leaving anything behind."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.contract.errors import ServerError
from serving.triton.arguments import METRICS_ARGUMENTS, Trace, check_arguments, listening
from serving.triton.canary import PATIENCE, Canary
from serving.triton.doors import door_arguments, largest_file
from serving.triton.installation import (
    SHARED_MEMORY,
    Installation,
    best_runtime,
    cache_variable,
    check_embedded,
    check_shared_memory,
    find_installation,
    has_gpu,
)
from serving.triton.log import reason_of_failure
from serving.triton.outputs import FileLog, Log
from serving.triton.ports import free_ports, host_of, is_listening, url_of
from serving.triton.process_group import Deaths, process_group
from serving.triton.restarts import Progress
from serving.triton.runtime import Runtime
from serving.triton.scratch import scratch_folder, shortages
from serving.triton.served_models import POLL_ARGUMENTS, ServedModels
from serving.triton.stopping import names_of_processes, withdraw

START_TIMEOUT = 600.0
"""Seconds within which every model must be loaded, including the compilation of engines."""

DRAIN_TIMEOUT = 60.0
"""Seconds for answering the accepted requests when a healthy server stops."""

CANARY_INTERVAL = 30.0
"""Seconds between canary inferences, each of which costs the computation of a picture."""

_TICK = 0.5
"""Seconds between looks at the log and the canary; the death of a process is noticed without them."""


class TritonServer:
    """A Triton server in its own process group; use it in a ``with`` block, which begins once every ensemble answers.

    Inside the block ``url`` (HOST:PORT of gRPC), ``ports`` (by "grpc", "http" and "metrics"), ``pid`` and ``ensembles``
    (names) are valid; what is closed has no port.
    """

    def __init__(
        self,
        repository: Path,
        *,
        log: Path | Log,
        address: str = "127.0.0.1",
        grpc_port: int = 8001,
        http_port: int | None = None,
        metrics_port: int | None = 8002,
        metrics_address: str | None = None,
        allow_shared_memory: bool = False,
        runtime: Runtime | None = None,
        cache: Path | None = None,
        trace: Trace | None = None,
        arguments: Sequence[str] = (),
        progress: Progress | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            repository: the model repository to serve.
            log: file to which the server's output is appended, or another place for it; ``watch`` bounds its size.
            address: address to listen on; the embedded server accepts loopback addresses only.
            grpc_port: port for inference; for this port and the others, 0 selects any free port.
            http_port: port for HTTP; None keeps HTTP closed, as any web page in a local browser could send requests.
            metrics_port: port for Prometheus; None keeps it closed.
            metrics_address: address for Prometheus, if it is not ``address``.
            allow_shared_memory: let clients register shared memory, and so read, overwrite and crash every program of
                this user that has some.
            runtime: the configuration of the engine models to use; None selects the best that this machine can run.
            cache: folder in which engines keep compiled models for the next start; it is created if it is missing.
            trace: where the times of requests go.
            arguments: further options of Triton.
            progress: called with a phrase at the start of every stage.
            patience: seconds without an answer after which a model counts as hung.

        Raises:
            RequestError: one of the arguments is no option, or is one that is set here.
        """
        check_arguments(arguments, traced=trace is not None)
        self.repository, self.log = repository.resolve(), log if isinstance(log, Log) else FileLog(log)
        self.addresses = {
            "grpc": address,
            "http": address,
            "metrics": address if metrics_address is None else metrics_address,
        }
        ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.ports = {service: port for service, port in ports.items() if port is not None}
        self.ensembles: list[str] = []
        self.shared_memory_prefix = f"toonify_{uuid.uuid4().hex[:12]}_"
        self._runtime = runtime
        self._cache = cache
        self._further = (*(trace.arguments() if trace else ()), *arguments)
        self._progress = progress or (lambda phrase: None)
        self._allow_shared_memory = allow_shared_memory
        self._patience = patience
        self._healthy = False
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """HOST:PORT of the gRPC endpoint."""
        return url_of(self.addresses["grpc"], self.ports["grpc"])

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        return self._process.pid

    def start(self) -> None:
        """Start the server, and return when every ensemble has answered a canary inference.

        Raises:
            ServerError: no server is installed, a port is taken, the machine is full, a model does not load, or an
                ensemble does not answer; nothing is left running.
        """
        check_repository(self.repository)
        with shortages(), ExitStack() as stack:
            self._progress("starting the Triton server")
            scratch = stack.enter_context(scratch_folder())
            installation = find_installation(scratch)
            check_embedded(installation, self.addresses.values(), self._runtime)
            self.ports = free_ports(self.addresses, self.ports)
            check_shared_memory(len([*self.repository.glob("*/1/model.py")]))
            environment = {**installation.environment, **cache_variable(self._cache)}
            self._models = ServedModels(scratch / "models", self.repository)
            stack.callback(self._free_shared_memory)
            command = [str(installation.executable), *installation.arguments, *self._arguments(installation)]
            limit = largest_file(self.repository)
            output = stack.enter_context(self.log.opened())
            group = process_group(command, environment=environment, output=output, largest_file=limit)
            self._process = stack.enter_context(group)
            self._progress("loading the models")
            self._wait_until_listening()
            self._deaths = stack.enter_context(Deaths(names_of_processes(self._process.pid)))
            self._canary = stack.enter_context(Canary(self.url, patience=self._patience))
            self.ensembles = self._canary.ensembles
            self._progress(f"asking {len(self.ensembles)} ensembles for a picture")
            for ensemble in self.ensembles:
                self._canary.ask(ensemble)
            self._healthy = True
            stack.callback(self._drain)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Refuse new requests, answer the accepted ones, end every process and free the shared memory.

        A server that ``watch`` has found to be broken is ended at once, since it would never finish its requests.
        """
        self._stack.close()

    def watch(self, interval: float = CANARY_INTERVAL) -> ServerError:
        """Block until a process of the server has died or a model no longer answers, and return the error.

        Triton's own readiness check does not notice that the process of a python model has died: before release 26.04
        the model stays "ready" and fails every request. A death is noticed at once, and a process that hangs by a
        request to each model, ``interval`` seconds after the one before; with 0 there are no such requests.
        """
        thread = ThreadPoolExecutor(1)  # not in a ``with`` block: closing the canary ends what it waits for
        try:
            failure = self._failure(thread, interval)
            self._healthy = False
            return failure
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _arguments(self, installation: Installation) -> Iterator[str]:
        yield f"--model-repository={self._models.folder}"
        yield from POLL_ARGUMENTS
        yield from door_arguments(shared_memory=self._allow_shared_memory)
        yield from listening(self.ports, self.addresses)
        if installation.embedded:
            # The prefix identifies the shared memory that this server leaves behind if it is killed. Newer servers
            # protect the default prefix against clients, and clean up by themselves.
            yield f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}"
        yield "--disable-auto-complete-config"
        yield f"--exit-timeout-secs={DRAIN_TIMEOUT:.0f}"
        if installation.embedded or not has_gpu():
            yield "--allow-gpu-metrics=false"
        runtime = self._runtime or best_runtime(self.repository, installation)
        if runtime != "tensorrt":
            yield f"--model-config-name={runtime}"
        if "metrics" in self.ports:
            yield from METRICS_ARGUMENTS
        yield from self._further

    def _failure(self, thread: ThreadPoolExecutor, interval: float) -> ServerError:
        """Wait for the first failure, while the canary works in the thread."""
        check: Future[None] | None = None
        last_check = time.monotonic()
        while True:
            if dead := self._deaths.wait(min(interval or _TICK, _TICK)):
                return self._death(dead)
            self.log.tidy()
            if check is None and interval and time.monotonic() - last_check >= interval:
                check = thread.submit(self._canary.check)
            if check is not None and check.done():
                failure = check.exception()
                if isinstance(failure, ServerError):
                    return failure
                check.result()
                check, last_check = None, time.monotonic()

    def _death(self, dead: set[str]) -> ServerError:
        if "Triton server" in dead:  # its python models end with it
            self._process.wait()
            return self._exit_error()
        name = sorted(dead)[0]
        return ServerError(name, got="the end of its process", expected="a running one", remedy=f"see {self.log}")

    def _drain(self) -> None:
        """Answer what has been accepted, and let the server end.

        Triton itself refuses the next step of an ensemble's request as soon as it is told to stop. So the ensembles are
        withdrawn first, and the server is told to stop when their last request has been answered.
        """
        if not self._healthy:
            return
        self._healthy = False
        self._progress("stopping the Triton server; accepted requests are answered first")
        deadline = time.monotonic() + DRAIN_TIMEOUT
        with suppress(ServerError, OSError):
            withdraw(self.ensembles, self._models, self._canary, deadline, lambda: bool(self._deaths.wait(0)))
        if self._deaths.wait(0):  # then some requests are never answered
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline - time.monotonic(), 0) + 5)  # 5 s for Triton's own shutdown

    def _free_shared_memory(self) -> None:
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    def _wait_until_listening(self) -> None:
        """Wait for the server to open its ports, which it does when all models are loaded."""
        deadline = time.monotonic() + START_TIMEOUT
        while not is_listening(host_of(self.addresses["grpc"]), self.ports["grpc"]):
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
        reason = reason_of_failure(self.log.text())
        return ServerError(
            "Triton server",
            got=reason or f"the end of its process with exit code {self._process.poll()}",
            expected="a running server",
            remedy=f"see {self.log}",
        )


def check_repository(repository: Path) -> None:
    """Check that a folder holds models.

    Raises:
        ServerError: it does not.
    """
    if not any(repository.glob("*/config.pbtxt")):
        raise ServerError(
            str(repository),
            got="no folder with model configurations",
            expected="a model repository",
            remedy="write one with toonify-export repository",
        )
