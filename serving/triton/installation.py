"""Choice of the ``tritonserver`` to run and of its environment: NVIDIA's if it is installed, else the embedded one.

The embedded server is the binary in the PyPI wheel nvidia-pytriton (server 2.51). It is old and has known
vulnerabilities, so it listens on loopback only.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import ServerError
from engines.loading import CACHE_VARIABLE, ENGINES
from engines.model_directory import MANIFEST
from serving.triton.ports import is_loopback
from serving.triton.runtime import Runtime

SHARED_MEMORY = Path("/dev/shm")

BUSY_SECONDS = 10.0
"""How long a program that was just written may be held open by other children of this process."""

EMBEDDED_SERVER_REMEDY = (
    "pip install 'toonify-serve[server]'"
    if sys.version_info < (3, 13) and sys.platform == "linux"
    else "make an environment with Python 3.11 or 3.12 on Linux, the only ones that nvidia-pytriton is made for"
)
"""How to install the embedded server for this interpreter."""


OPENCV_LIMITS = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(10**8)}
"""Environment by which OpenCV, in the server's Python models, itself refuses pictures that the package's checks missed.

OpenCV reads it when it is loaded.
"""

FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}
"""Environment by which the C library returns what the embedded server frees to the system at once.

gRPC receives messages in pieces of 64 KiB. With glibc's own threshold these come from arenas that other allocations
keep from shrinking: after refused messages of 64, 256 and 550 MiB the server's heap stayed at 130 to 570 MiB, with this
one at the 10 MiB of before. A request takes 0.3 ms more of a processor with pictures of 512x512. NVIDIA's container
brings an allocator of its own.
"""


@dataclass(frozen=True)
class Installation:
    """A server's executable, the arguments that its location requires, and its environment."""

    executable: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    embedded: bool


def find_installation(scratch: Path) -> Installation:
    """Find ``tritonserver`` on PATH, or else the embedded server, whose backends are laid out below ``scratch``.

    Raises:
        ServerError: neither is installed, or the embedded server cannot run with this interpreter.
    """
    # The processes of Triton's python backend find their interpreter, and with it this package, through PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**OPENCV_LIMITS, **os.environ, "PATH": path}
    on_path = shutil.which("tritonserver")
    if on_path:
        return Installation(Path(on_path), (), environment, embedded=False)
    site = _site_packages_of_wheel()
    environment = {**FREED_MEMORY, **environment}
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(_library_folders(site))
    backends = _lay_out_backends(site / "pytriton" / "tritonserver", scratch / "backends")
    _check_stub(backends / "python" / "triton_python_backend_stub", environment)
    return Installation(
        site / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        (f"--backend-directory={backends}",),
        environment,
        embedded=True,
    )


def check_embedded(installation: Installation, addresses: Iterable[str], runtime: Runtime | None) -> None:
    """Raise ServerError if the server is the embedded one, and is to do what only NVIDIA's can or may."""
    if not installation.embedded:
        return
    for address in addresses:
        if not is_loopback(address):
            raise ServerError(
                f"address {address}",
                got="an address that other machines can reach, for the embedded server with its known vulnerabilities",
                expected="a loopback address",
                remedy="serve other machines from NVIDIA's tritonserver container, 26.05 or newer",
            )
    if runtime not in (None, "cpu"):
        raise ServerError(
            "embedded Triton server",
            got=f"the runtime {runtime}",
            expected="cpu, since it has a back end for python models only",
            remedy="leave --runtime out, or serve from NVIDIA's tritonserver container",
        )


def check_shared_memory(models: int) -> None:
    """Check that there is shared memory for ``models`` python models, with whose processes Triton communicates by it.

    Each process allocates 1 MiB when it starts, and more as its tensors require. Containers have 64 MiB by default.

    Raises:
        ServerError: there is no shared memory, it cannot be written, or too little of it is free.
    """
    needed = 2 * models  # MiB: one at the start, one for small tensors
    got = _shared_memory_problem(needed)
    if got:
        raise ServerError(
            f"shared memory {SHARED_MEMORY}",
            got=got,
            expected=f"{needed} MiB for {models} models",
            remedy="mount a larger tmpfs there (docker run --shm-size=256m), or stop the programs that fill it",
        )


def _shared_memory_problem(needed: int) -> str:
    if not SHARED_MEMORY.is_dir():
        return "no such folder"
    if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        return "a folder that this user cannot write"
    free = shutil.disk_usage(SHARED_MEMORY).free >> 20
    return f"{free} MiB of free space" if free < needed else ""


def cache_variable(cache: Path | None) -> dict[str, str]:
    """Make the folder of compiled models, and return the environment variable that names it; none without a folder.

    Raises:
        ServerError: the folder cannot be made.
    """
    if cache is None:
        return {}
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(
            f"cache {cache}",
            got=error.strerror or str(error),
            expected="a folder that exists or can be made",
            remedy="choose another with --cache, or leave it out",
        ) from None
    return {CACHE_VARIABLE: str(cache.resolve())}


def best_runtime(repository: Path, installation: Installation) -> Runtime:
    """Choose "tensorrt" for a GPU and a plan of every engine model, else "onnxruntime" for a GPU, else "cpu".

    "cpu" runs the manifests' engines. Where a manifest itself names an engine for a GPU, that choice is respected.
    """
    # The embedded server has neither of the two backends.
    if installation.embedded or not has_gpu():
        return "cpu"
    versions = [path.parents[1] / "1" for path in repository.glob("*/configs/cpu.pbtxt")]
    # Plans of one batch size, such as "generator.b8.plan", are for this package's own engine.
    if all(any("." not in plan.stem for plan in version.glob("*.plan")) for version in versions):
        return "tensorrt"
    return "onnxruntime" if all(_is_for_cpu(version / MANIFEST) for version in versions) else "cpu"


def _is_for_cpu(manifest: Path) -> bool:
    return ENGINES[json.loads(manifest.read_bytes())["engine"]].target == "cpu"


def has_gpu() -> bool:
    """Return whether NVIDIA's driver offers a GPU to this machine or container."""
    return Path("/dev/nvidiactl").exists()


def _site_packages_of_wheel() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError(
            "Triton server",
            got="no tritonserver on PATH and no package nvidia-pytriton",
            expected="one of the two",
            remedy=f"run inside NVIDIA's tritonserver container, or {EMBEDDED_SERVER_REMEDY}",
        )
    return Path(spec.origin).parents[1]


def _library_folders(site: Path) -> list[str]:
    # The interpreter's own folder comes first: the stub links libpython by name, and another build of the same version,
    # such as a distribution's, does not match this interpreter's standard library.
    inherited = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    own = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib", str(site / "nvidia_pytriton.libs")]
    return [folder for folder in own + inherited if folder]


def _lay_out_backends(wheel: Path, backends: Path) -> Path:
    """Link the python backend into ``backends``, with the stub of this Python version where Triton looks for it.

    The wheel keeps the stubs of all Python versions in a folder of their own.
    """
    folder = backends / "python"
    folder.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (folder / name).symlink_to(wheel / "backends" / "python" / name)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    source = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not source.is_file():
        raise ServerError(
            "embedded Triton server",
            got=f"Python {version}",
            expected=f"one of {', '.join(sorted(path.name for path in source.parents[1].iterdir()))}",
            remedy="make the environment with one of those versions",
        )
    stub = folder / source.name
    shutil.copyfile(source, stub)
    stub.chmod(0o755)  # a wheel's files need not be executable
    return backends


def _check_stub(stub: Path, environment: Mapping[str, str]) -> None:
    # Without arguments the stub reports so and exits; if the loader does not find a library, it exits with 127.
    run = run_copied_program(stub, environment)
    if run.returncode == 127:
        raise ServerError(
            "embedded Triton server",
            got=run.stderr.rpartition("stub: ")[2].strip(),
            expected="the shared libraries of Python and of the wheel",
            remedy="install this Python's shared library (Debian and Ubuntu: the package libpython3.x)",
        )


def run_copied_program(program: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program that this process has just written.

    A child that another thread forked meanwhile holds the file open until it executes its own program. Until then, for
    some milliseconds, the system refuses to execute the file.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            if error.errno != errno.ETXTBSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
