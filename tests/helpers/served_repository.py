"""``serve`` in a process of its own, with tiny models, and what belongs to its server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiny_models import TinyModels

from serving.triton.ports import free_ports
from serving.triton.process_group import PROC, command_line
from serving.triton.repository import write_repository

SLOW_MODEL = """\
import time

from serving.triton.adapters import {adapter}


class TritonPythonModel({adapter}):
    def execute(self, requests):
        time.sleep({seconds})
        return super().execute(requests)
"""
_SERVE = """import sys
from pathlib import Path
from serving.triton.supervision import serve
repository, grpc_port, metrics_port, interval, patience = sys.argv[1:]
serve(
    Path(repository),
    grpc_port=int(grpc_port),
    metrics_port=int(metrics_port),
    canary_interval=float(interval),
    patience=float(patience),
    progress=lambda phrase: print(phrase, flush=True),
)
"""


def small_repository(models: TinyModels, folder: Path) -> Path:
    """A repository with one generator and no ISF head."""
    write_repository(folder / "repository", encoder=models.encoder, generators=[models.generators["plain"]])
    return folder / "repository"


def make_slow(repository: Path, model: str = "generator_plain", *, seconds: float = 0.3) -> None:
    """Make each batch of a model take this long, so that requests queue up."""
    path = repository / model / "1" / "model.py"
    adapter = "ConditionModel" if model == "condition" else "EngineModel"
    path.unlink()  # it may be a link to a file that others use
    path.write_text(SLOW_MODEL.format(adapter=adapter, seconds=seconds))


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@dataclass(frozen=True)
class Serving:
    """A running ``serve``: its process, the file of its phrases, its gRPC address, the folder of all its files."""

    process: subprocess.Popen[bytes]
    told: Path
    url: str
    folder: Path

    def phrases(self, beginning: str) -> int:
        """How often it has said a phrase that begins so."""
        return sum(line.startswith(beginning) for line in self.told.read_text().splitlines())

    def processes(self, kind: str = "") -> list[int]:
        """Ids of the server's processes; of those alone whose command line has ``kind``, as the name of a model."""
        ids = [int(path.name) for path in PROC.glob("[0-9]*") if int(path.name) != self.process.pid]
        lines = {process: " ".join(command_line(process)) for process in ids}
        return [process for process, line in lines.items() if f"{self.folder}/toonify-" in line and kind in line]

    def server(self) -> int:
        """Id of the Triton server's own process."""
        (process,) = self.processes("--model-repository=")
        return process

    def model(self, name: str) -> int:
        """Id of the process of a python model."""
        (process,) = self.processes(f"/{name}/1/model.py")
        return process

    def regions(self) -> list[Path]:
        """The shared memory of the python models, which their command lines name."""
        names = {part for process in self.processes() for part in command_line(process)}
        return [path for path in Path("/dev/shm").iterdir() if path.name in names]


@contextmanager
def serving(repository: Path, *, interval: float = 0.2, patience: float = 60) -> Iterator[Serving]:
    """Start ``serve`` and wait until it serves; the block's end stops it in order."""
    ports = free_ports("127.0.0.1", {"grpc": 0, "metrics": 0})
    told = repository.with_name("told")
    with told.open("w") as output:
        command = [sys.executable, "-c", _SERVE, str(repository), *map(str, (*ports.values(), interval, patience))]
        # SIGINT is ignored, as a shell without job control starts background commands.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Files that a killed process cannot remove stay below the test's own folder.
        environment = {**os.environ, "TMPDIR": str(repository.parent)}
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        signal.signal(signal.SIGINT, previous)
    served = Serving(process, told, f"127.0.0.1:{ports['grpc']}", repository.parent)
    try:
        wait_until(lambda: served.phrases("serving toonify") or process.poll() is not None)
        assert process.poll() is None, told.read_text()
        yield served
    finally:
        process.terminate()
        process.wait(90)
