"""``serve``, or an edge before several of them, in a process of its own, and what belongs to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import ServerError
from serving.triton.ports import free_ports
from serving.triton.process_group import PROC, command_line

_SERVE = """import sys, time
from pathlib import Path
from serving.triton.supervision import serve
repository, log, grpc_port, metrics_port, interval, patience = sys.argv[1:]
serve(
    Path(repository),
    log=Path(log) if log else None,
    grpc_port=int(grpc_port),
    metrics_port=int(metrics_port),
    canary_interval=float(interval),
    patience=float(patience),
    progress=lambda phrase: print(time.monotonic(), phrase, flush=True),
)
"""

_EDGE = """import sys, time
from pathlib import Path
from serving.deploy.edge import Edge
from serving.deploy.supervision import run_edge
log, port, *upstreams = sys.argv[1:]
run_edge(
    lambda: Edge(tuple(upstreams), port=int(port)),
    log=Path(log),
    progress=lambda phrase: print(time.monotonic(), phrase, flush=True),
)
"""


@dataclass(frozen=True)
class Serving:
    """A running ``serve`` or edge: its process, the file of its phrases, its gRPC address, the folder of its files."""

    process: subprocess.Popen[bytes]
    told: Path
    url: str
    folder: Path

    def inside(self, path: Path) -> Path:
        """A path as ``serve`` sees it, which may have file systems of its own."""
        return PROC / str(self.process.pid) / "root" / path.relative_to("/")

    def times(self, beginning: str) -> list[float]:
        """When it has said a phrase that begins so, by the monotonic clock."""
        lines = [line.partition(" ") for line in self.told.read_text().splitlines()]
        return [float(clock) for clock, _, phrase in lines if phrase.startswith(beginning) and clock[:1].isdigit()]

    def phrases(self, beginning: str) -> int:
        """How often it has said a phrase that begins so."""
        return len(self.times(beginning))

    def processes(self, kind: str = "") -> list[int]:
        """Ids of the server's processes; of those alone whose command line has ``kind``, as the name of a model."""
        ids = [int(path.name) for path in PROC.glob("[0-9]*") if int(path.name) != self.process.pid]
        lines = {process: " ".join(command_line(process)) for process in ids}
        return [process for process, line in lines.items() if f"{self.folder}/toonify-" in line and kind in line]

    def server(self) -> int:
        """Id of the Triton server's own process."""
        (process,) = self.processes("--model-repository=")
        return process

    def models(self) -> list[str]:
        """Names of the python models, each of which has a process."""
        paths = [Path(part) for process in self.processes() for part in command_line(process)]
        return sorted({path.parts[-3] for path in paths if path.name == "model.py"})

    def model(self, name: str) -> int:
        """Id of the process of a python model."""
        (process,) = self.processes(f"/{name}/1/model.py")
        return process

    def regions(self) -> list[Path]:
        """The shared memory of the python models, which their command lines name."""
        names = {part for process in self.processes() for part in command_line(process)}
        return [path for path in Path("/dev/shm").iterdir() if path.name in names]


@contextmanager
def serving(
    repository: Path,
    folder: Path,
    *,
    interval: float = 30,
    patience: float = 60,
    log: Path | None = None,
    small: tuple[Path, int] | None = None,
    port: int = 0,
) -> Iterator[Serving]:
    """Start ``serve`` and wait until it serves; the block's end stops it in order.

    Args:
        repository: what to serve.
        folder: folder for everything that a process writes, so that what a killed one leaves behind lies there.
        interval: seconds between requests of the canary.
        patience: seconds after which a model that answers nothing counts as hung.
        log: the server's log, by default beside the repository.
        small: a folder that is a file system of so many MiB for ``serve`` alone.
        port: its gRPC port; 0 takes any free one.

    Raises:
        ServerError: it does not start.
    """
    ports = free_ports("127.0.0.1", {"grpc": port, "metrics": 0})
    arguments = (repository, log or "", ports["grpc"], ports["metrics"], interval, patience)
    with _running(_SERVE, arguments, folder, ports["grpc"], "serving toonify", _with_file_system(small)) as served:
        yield served


@contextmanager
def edge_before(upstreams: Sequence[str], folder: Path) -> Iterator[Serving]:
    """Start an edge in front of servers; the block's end stops it in order. The arguments are those of ``serving``."""
    port = free_ports("127.0.0.1", {"edge": 0})["edge"]
    with _running(_EDGE, (folder / "edge.log", port, *upstreams), folder, port, "serving") as edge:
        yield edge


@contextmanager
def _running(
    script: str, arguments: Sequence[object], folder: Path, port: int, beginning: str, prefix: Sequence[str] = ()
) -> Iterator[Serving]:
    """Run a script until the block's end, from the moment on at which it says a phrase that begins so."""
    told = folder / "told"
    with told.open("w") as output:
        # SIGINT is ignored, as a shell without job control starts background commands.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        signal.signal(signal.SIGINT, previous)
    served = Serving(process, told, f"127.0.0.1:{port}", folder)
    try:
        wait_until(lambda: served.phrases(beginning) or process.poll() is not None, "a start", 300)
        if process.poll() is not None:
            raise ServerError("serve", got=told.read_text()[-500:], expected="a running server", remedy="see its log")
        yield served
    finally:
        process.terminate()
        process.wait(90)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no room in a file system within the block."""
    filler = folder / "filler"
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield
    finally:
        filler.unlink(missing_ok=True)


def _with_file_system(small: tuple[Path, int] | None) -> list[str]:
    """The beginning of a command that runs in a namespace of its own, where a folder is a file system in memory."""
    if small is None:
        return []
    folder, size = small
    mount = f'mount -t tmpfs -o size={size}m tmpfs "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]


def wait_until(condition: Callable[[], object], what: str = "a condition", seconds: float = 60) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
