"""``toonify serve`` as in a container: the first process of its namespace, a repository that cannot be written.

The ``tritonserver`` on PATH, if the machine has none, is the embedded one, put forward as if it were the system's.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.served import wait_until
from serving.triton.installation import find_installation
from serving.triton.ports import free_ports
from serving.triton.process_group import PROC

NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_MOUNTS = 'mount -t tmpfs shm /dev/shm && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""Shared memory of its own, as every container has: nothing of a model that is killed stays on the machine."""
_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1 | 64))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Starts a program where 127.0.0.1 answers, as it does not in a new network."""


def _has_namespaces() -> bool:
    return bool(shutil.which("unshare")) and not subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode


needs_namespaces = pytest.mark.skipif(not _has_namespaces(), reason="this machine lets no user make namespaces")


@dataclass
class Container:
    """A running ``toonify serve``.

    Attributes:
        pid: its id on this machine; inside it is 1.
        lines: what it has written to standard output.
    """

    pid: int
    log: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def said(self, beginning: str) -> int:
        """How often it has said a phrase that begins so."""
        own = [line["message"] for line in self.lines if line["source"] == "toonify"]
        return sum(message.startswith(beginning) for message in own)

    def processes(self) -> dict[int, str]:
        """Ids and states of all processes in its namespace, "Z" for one for which nobody has waited."""
        states = {}
        for path in PROC.glob("[0-9]*"):
            with suppress(OSError):
                if (path / "ns/pid").readlink() == (PROC / str(self.pid) / "ns/pid").readlink():
                    states[int(path.name)] = (path / "stat").read_text().rpartition(") ")[2][0]
        return states

    def listening(self) -> set[int]:
        """The ports at which other machines would reach it."""
        texts = [(PROC / str(self.pid) / "net" / name).read_text() for name in ("tcp", "tcp6")]
        lines = [line.split() for text in texts for line in text.splitlines()[1:]]
        local = [line[1].split(":") for line in lines if line[3] == "0A"]  # 0A: listening
        return {int(port, 16) for address, port in local if not address.strip("0")}

    def inside(self, *command: str) -> subprocess.Popen[str]:
        """Start a program in the container's network."""
        enter = ["nsenter", "--target", str(self.pid), "--user", "--net", "--preserve-credentials"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen([*enter, *command], env=environment, stdout=subprocess.PIPE, text=True)

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(90)


@contextmanager
def container(
    repository: Path, folder: Path, *options: str, own_network: bool = False, arguments: Sequence[str] = ()
) -> Iterator[Container]:
    """Start ``toonify serve`` with a log of JSON on standard output, and wait until it serves.

    With a network of its own it uses the usual ports, and only processes inside can reach it.
    """
    ports = {"grpc": 8001, "http": 8000, "metrics": 8002}
    if not own_network:
        ports = free_ports("127.0.0.1", dict.fromkeys(ports, 0))
    listening = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    log, errors = folder / "stdout", folder / "stderr"
    command = ["--http", *listening, "--log", "-", "--log-format", "json", *options, "--", *arguments]
    with log.open("wb") as output, errors.open("wb") as error_output:
        process = start(repository, folder, *command, own_network=own_network, stdout=output, stderr=error_output)
    served = Container(child(process), log, ports, process)
    try:
        wait_until(lambda: served.said("serving toonify") or process.poll() is not None, "a start")
        assert process.poll() is None, log.read_text() + errors.read_text()
        yield served
    finally:
        with suppress(ProcessLookupError):  # it has been stopped
            os.kill(served.pid, signal.SIGTERM)
        process.wait(90)
        assert errors.read_text() == ""


def start(
    repository: Path,
    folder: Path,
    *options: str,
    read_only: Path | None = None,
    own_network: bool = False,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """Start ``toonify serve`` of a repository that is read-only for it, or of which another folder is."""
    network = ["--net", sys.executable, "-c", _LOOPBACK] if own_network else []
    program = [sys.executable, "-c", "from serving.start import main; main()", "serve", "--repository", str(repository)]
    path = f"{_bin_with_server(folder)}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [*NAMESPACES, *network, "sh", "-c", _MOUNTS, str(read_only or repository), *program, *options],
        env={**os.environ, "PATH": path, "TMPDIR": str(folder)},
        **streams,
    )


def child(process: subprocess.Popen[bytes]) -> int:
    """Id of the process in the new namespace, which ``unshare`` has started."""
    children = PROC / str(process.pid) / "task" / str(process.pid) / "children"
    wait_until(lambda: children.read_text().strip() or process.poll() is not None, "a process")
    return int(children.read_text())


def _bin_with_server(folder: Path) -> Path:
    """A folder with a program ``tritonserver``."""
    binaries = folder / "bin"
    if not binaries.is_dir():
        binaries.mkdir()
        (folder / "server").mkdir()
        found = find_installation(folder / "server")
        libraries = found.environment.get("LD_LIBRARY_PATH", "")
        command = shlex.join(["env", f"LD_LIBRARY_PATH={libraries}", str(found.executable), *found.arguments])
        (binaries / "tritonserver").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (binaries / "tritonserver").chmod(0o755)
    return binaries


class Collector:
    """A receiver of OpenTelemetry's traces over HTTP; use it in a ``with`` block."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector._take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, message: dict[str, Any]) -> None:
        for resource in message["resourceSpans"]:
            for attribute in resource["resource"]["attributes"]:
                if attribute["key"] == "service.name":
                    self.services.add(attribute["value"]["stringValue"])
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]
