"""The example for those who have Ray, on a cluster whose processes and machines are killed while it works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_triton import FakeTriton, running

from export.demo_face import demo_face
from serving.faces.images import write_picture

ROOT = Path(__file__).parents[3]
RAY = os.environ.get("TOONIFY_RAY", "")
COUNT = 120

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not RAY, reason="TOONIFY_RAY names no folder with Ray; make test-ray makes one"),
]


@dataclass
class Cluster:
    """A cluster; ``raylets`` are the processes of its machines, whose children are the actors."""

    process: subprocess.Popen[str]
    environment: dict[str, str]
    raylets: list[int]

    def lose(self, machine: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{machine}\n")
        self.process.stdin.flush()

    def actors(self) -> list[int]:
        """The processes of the actors."""
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and self._is_actor(path)]

    def _is_actor(self, process: Path) -> bool:
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            return parent in self.raylets and b"ray::PictureWorker" in (process / "cmdline").read_bytes()
        except OSError:
            return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # The paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        path = os.pathsep.join((RAY, str(ROOT), str(ROOT / "tests/helpers")))
        environment = {**os.environ, "PYTHONPATH": path, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # its other name: everything on loopback
        command = [sys.executable, str(ROOT / "tests/helpers/ray_cluster.py")]
        pipe = subprocess.PIPE
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=log)
        assert process.stdin
        assert process.stdout
        lines = (line for line in process.stdout if line.startswith("{"))
        described = json.loads(next(lines, "{}"))
        assert described, (Path(folder) / "log").read_text()
        try:
            environment["RAY_ADDRESS"] = described["address"]
            yield Cluster(process, environment, described["raylets"])
        finally:
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of aligned faces, all of them readable but one."""
    folder = tmp_path_factory.mktemp("faces")
    write_picture(folder / "000.png", demo_face())
    for number in range(1, COUNT):
        shutil.copy(folder / "000.png", folder / f"{number:03}.png")
    return folder


@contextmanager
def example(cluster: Cluster, faces: Path, toons: Path, server: FakeTriton) -> Iterator[subprocess.Popen[str]]:
    """The example at work, two actors and ten pictures long."""
    command = [sys.executable, "-m", "serving.deploy.examples.ray_pictures", str(faces), str(toons)]
    command += ["--url", server.url, "--actors", "2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=cluster.environment, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            wait_for(lambda: len(server.requests) > COUNT // 4 or process.poll() is not None)
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def check(process: subprocess.Popen[str], toons: Path, server: FakeTriton, repeated: int) -> None:
    """All pictures are there, and no more than those in flight were asked for twice."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    names = [f"{number:03}.png" for number in range(COUNT)]
    told = [Path(line).name for line in out.splitlines() if line.startswith(f"{toons}/")]  # Ray tells things there too
    assert sorted(told) == names, err
    assert sorted(path.name for path in toons.glob("[!.]*.png")) == names
    assert COUNT <= len(server.requests) <= COUNT + repeated


def test_a_killed_process_and_a_lost_machine_cost_no_picture(cluster: Cluster, faces: Path, tmp_path: Path) -> None:
    # One after the other on one cluster, whose start takes most of the time.
    with running(FakeTriton(delay=0.02)) as server, example(cluster, faces, tmp_path / "killed", server) as process:
        killed = cluster.actors()
        assert len(killed) == 2
        os.kill(killed[0], signal.SIGKILL)
        check(process, tmp_path / "killed", server, repeated=1)
        assert killed[0] not in cluster.actors()
    with running(FakeTriton(delay=0.02)) as server, example(cluster, faces, tmp_path / "lost", server) as process:
        cluster.lose(1)
        check(process, tmp_path / "lost", server, repeated=1)
