"""What ``constraints.txt`` pins can be had together, on every Python and processor, from the ordinary index alone.

pip resolves without downloading a package (``--dry-run`` reads their metadata), and sees nothing of this machine: no
configuration, no environment variable, no folder of wheels, no installed package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

import environment

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"

GLIBC = 35
"""Minor version of glibc 2 that wheels may ask for: nvidia-pytriton's do."""

WITHOUT_WHEELS = ("tensorrt", "pycuda")
"""Packages that are compiled or fetched elsewhere when they are installed, so that pip cannot look them up."""

CUDA = ("nvidia-", "cuda-")
"""Beginnings of the names of torch's CUDA libraries, whose versions torch itself pins."""

# pip chooses wheels by --python-version and --platform, but evaluates environment markers for the interpreter that it
# runs in: "triton; python_version < '3.15'" would be read as on this machine.
PIP = """
import json, sys
from pip._vendor.packaging import markers
here = markers.default_environment
markers.default_environment = lambda: {**here(), **json.loads(sys.argv[1])}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Machine:
    """A machine that packages are chosen for: its version of Python, kind of processor and operating system."""

    python: str
    processor: str
    system: Literal["linux", "darwin", "win32"] = "linux"

    @property
    def options(self) -> Iterator[str]:
        """How pip is told which wheels fit."""
        yield from ("--implementation", "cp", "--python-version", self.python)
        for tag in self._tags():
            yield from ("--platform", f"{tag}_{self.processor.lower()}")

    @property
    def markers(self) -> dict[str, str]:
        """What differs in its environment markers."""
        system = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[self.system]
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.processor,
            "platform_system": system,
            "sys_platform": self.system,
            "os_name": "nt" if self.system == "win32" else "posix",
        }

    def _tags(self) -> Iterator[str]:
        if self.system == "linux":
            yield from (f"manylinux_2_{minor}" for minor in range(GLIBC, 4, -1))
            yield from ("manylinux2014", "manylinux1")
        elif self.system == "darwin":
            yield from (f"macosx_{major}_0" for major in range(15, 10, -1))
        else:
            yield "win"


class NotResolved(Exception):
    """pip's last lines."""


def resolve(requirements: Sequence[str], machine: Machine, folder: Path, *options: str) -> dict[str, str]:
    """Versions by package that pip would install; the folder is for its report."""
    report = folder / f"{machine.python}-{machine.processor}-{len(requirements)}.json"
    pip = [
        sys.executable,
        "-c",
        PIP,
        json.dumps(machine.markers),
        "install",
        "--isolated",
        "--dry-run",
        "--quiet",
    ]
    target = ["--target", str(folder / "nothing"), "--only-binary=:all:", *machine.options]
    command = [*pip, "--disable-pip-version-check", "--report", str(report), *target, *options, *requirements]
    done = subprocess.run(command, env=bare_environment(), capture_output=True, text=True)
    if done.returncode:
        raise NotResolved(f"{machine}: {done.stderr[-2000:]}")
    installed = json.loads(report.read_text())["install"]
    return {normal(each["metadata"]["name"]): each["metadata"]["version"] for each in installed}


def bare_environment() -> dict[str, str]:
    """How to reach the network, and nothing about where to look for packages."""
    kept = ("PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PIP_CONFIG_FILE": os.devnull}


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def requirements_of(*extras: str) -> list[str]:
    """What the package asks for with some extras, or with all of them where none is named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for extra in extras or optional for each in optional[extra])]
    return [each for each in dict.fromkeys(wanted) if not each.startswith(WITHOUT_WHEELS)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The package index answers; where it does not, tests are skipped."""
    try:
        resolve(["typer"], Machine("3.11", "x86_64"), tmp_path_factory.mktemp("index"), "--no-deps")
    except NotResolved as error:
        if "No matching distribution found for typer" not in str(error):
            raise
        pytest.skip(f"the package index does not answer: {error}")


@pytest.mark.parametrize("python", [environment.dotted(version) for version in environment.PYTHONS])
def test_all_extras_resolve_on_both_processors(python: str, index: None, tmp_path: Path) -> None:
    """Since every version is pinned, any selection of extras resolves where all of them do."""
    constraints = CONSTRAINTS.read_text().splitlines()
    pinned = {normal(line.split("==")[0]) for line in constraints if "==" in line}

    def resolved(processor: str) -> dict[str, str]:
        return resolve(requirements_of(), Machine(python, processor), tmp_path, "--constraint", str(CONSTRAINTS))

    with ThreadPoolExecutor(2) as pool:
        for versions in pool.map(resolved, ("x86_64", "aarch64")):
            assert {"torch", "onnxruntime-gpu", "openvino", "pytest"} <= versions.keys()
            assert {name for name in versions if not name.startswith(CUDA)} <= pinned


def test_helm_can_be_had_without_what_it_asks_for(index: None, tmp_path: Path) -> None:
    versions = resolve([environment._pinned(environment.HELM)], Machine("3.14", "x86_64"), tmp_path, "--no-deps")
    assert versions.keys() == {normal(environment.HELM)}


@pytest.mark.parametrize(
    "machine", [Machine("3.12", "arm64", "darwin"), Machine("3.13", "AMD64", "win32")], ids=["macOS", "Windows"]
)
def test_a_client_and_the_engines_install_on_other_systems(machine: Machine, index: None, tmp_path: Path) -> None:
    requirements = requirements_of("cpu", "server", "video", "studio")
    versions = resolve(requirements, machine, tmp_path, "--constraint", str(CONSTRAINTS))
    assert {"tritonclient", "onnxruntime", "openvino", "av"} <= versions.keys()
    assert "nvidia-pytriton" not in versions


def test_a_pin_that_contradicts_another_one_is_reported(index: None, tmp_path: Path) -> None:
    planted = tmp_path / "constraints.txt"
    planted.write_text(CONSTRAINTS.read_text().replace("triton==3.7.1", "triton==3.9.0"))
    assert planted.read_text() != CONSTRAINTS.read_text()
    with pytest.raises(NotResolved, match="conflicting dependencies"):
        resolve(["torch", "triton"], Machine("3.12", "x86_64"), tmp_path, "--constraint", str(planted))


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """A package without content."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {each}\n" for each in requires))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_markers_are_those_of_the_machine_in_question(tmp_path: Path) -> None:
    wheel(tmp_path, "part", "1.0")
    wheel(tmp_path, "part", "2.0")
    wheel(tmp_path, "whole", "1.0", "part==1.0; platform_machine == 'aarch64' and python_version >= '3.14'")
    requirements, local = ["whole", "part==2.0"], ("--no-index", "--find-links", str(tmp_path))
    assert resolve(requirements, Machine("3.14", "x86_64"), tmp_path, *local) == {"whole": "1.0", "part": "2.0"}
    assert resolve(requirements, Machine("3.13", "aarch64"), tmp_path, *local)
    with pytest.raises(NotResolved, match="conflicting dependencies"):
        resolve(requirements, Machine("3.14", "aarch64"), tmp_path, *local)


def test_nothing_of_this_machine_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, "only_here", "1.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(NotResolved, match="No matching distribution found for only-here"):
        resolve(["only-here"], Machine("3.11", "x86_64"), tmp_path, "--no-index")
