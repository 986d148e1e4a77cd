"""What continuous integration installs, runs and skips, with stand-ins for the programs that it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machine:
    """A machine that has the programs in ``folder`` alone; each of them writes down how it was called."""

    folder: Path

    def add(self, name: str, script: str = "") -> None:
        path = self.folder / name
        path.write_text(f'#!{which("bash")}\necho "{name} $*" >> "{self.folder}/calls"\n{script}\n')
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        command = [str(which("bash")), str(ROOT / ".ci/run")]
        return subprocess.run(command, env={"PATH": str(self.folder)}, capture_output=True, text=True)

    @property
    def calls(self) -> list[str]:
        written = (self.folder / "calls").read_text().splitlines()
        return [call for call in written if not call.startswith("id ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Root's, with apt-get, and without a browser, a compiler and promtool."""
    for name in ("dirname", "tail", "bash"):
        (tmp_path / name).symlink_to(str(which(name)))
    machine = Machine(tmp_path)
    machine.add("id", "echo 0")
    for name in ("apt-get", "make", "setpriv"):
        machine.add(name)
    return machine


def test_what_the_tests_need_is_installed_first(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    update, install, *others = machine.calls
    assert update.endswith(" update")
    assert install.endswith(" install --yes --no-install-recommends chromium chromium-driver g++ prometheus")
    assert others == ["make check", "make test"]


def test_nothing_is_installed_where_all_is_there(machine: Machine) -> None:
    for name in ("chromium", "chromedriver", "c++", "promtool"):
        machine.add(name)
    assert machine.run().returncode == 0
    assert machine.calls == ["make check", "make test"]


def test_without_a_network_the_run_goes_on_and_says_what_is_missing(machine: Machine) -> None:
    machine.add("apt-get", "echo 'Could not resolve deb.debian.org' >&2; exit 100")
    done = machine.run()
    assert done.returncode == 0
    assert "chromium chromium-driver g++ prometheus not installed" in done.stderr
    assert "Could not resolve deb.debian.org" in done.stderr
    assert machine.calls[-2:] == ["make check", "make test"]


def test_without_root_the_run_goes_on_and_says_what_is_missing(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    done = machine.run()
    assert "not as root" in done.stderr
    assert machine.calls == ["make check", "make test"]


def test_a_failed_check_fails_the_run(machine: Machine) -> None:
    machine.add("make", "exit 2")
    assert machine.run().returncode == 2
    assert machine.calls[-1] == "make check"


SKIPS = """
import pytest

@pytest.fixture(scope="module")
def browser():
    pytest.skip("no browser")

def test_of_a_program(browser): pass

@pytest.mark.skipif(True, reason="no compiler")
def test_with_a_mark(): pass

@pytest.mark.gpu
@pytest.mark.skipif(True, reason="no GPU")
def test_of_a_gpu(): pass

def test_that_passes(): pass
"""


@pytest.mark.parametrize(
    ("variables", "outcome"), [({}, "1 passed, 3 skipped"), ({"CI": "true"}, "1 passed, 1 skipped, 2 errors")]
)
def test_only_tests_of_a_gpu_are_skipped_there(tmp_path: Path, variables: dict[str, str], outcome: str) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "continuous_integration", "-p", "no:cacheprovider", str(tmp_path)],
        env={**environment, "PYTHONPATH": str(ROOT / "tests/helpers"), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"= {outcome} in" in done.stdout
    assert ("no browser; continuous integration must not skip this test" in done.stdout) is bool(variables)
