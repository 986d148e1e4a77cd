"""``toonify doctor``: what this machine has, and lacks, for serving models and for using a server."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from engines.contract.errors import ServerError, ToonifyError
from engines.winograd.library import instruction_sets_here
from serving.connection import Connection
from serving.faces.haar import HaarLandmarker
from serving.faces.model_files import MODEL_FILES, model_folder, present
from serving.triton.contents import check_models_too, unverified_models
from serving.triton.installation import EMBEDDED_SERVER_REMEDY

PACKAGES = ("toonify-serve", "numpy", "opencv-python-headless", "tritonclient", "grpcio", "protobuf")
ENGINES = {
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "torch": "export",
    "tensorrt": "tensorrt",
    "tensorrt_rtx_bindings": "tensorrt-rtx",
}
"""Maps each engine's library to the extra that installs it."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``remedy`` says how to get what is missing, and is empty if nothing is."""

    subject: str
    found: str
    remedy: str = ""
    essential: bool = False

    @property
    def missing(self) -> bool:
        return bool(self.remedy)


def findings(connection: Connection, model: str, repository: Path | None = None) -> tuple[Finding, ...]:
    """Examine this machine, and a model repository; no server is started, and engines' libraries are not loaded.

    The one essential finding is a way to a picture: a server that answers, or one that could be started here.
    """
    server, engines, triton = _server(connection, model), tuple(_engines()), _tritonserver()
    can_serve = not triton.missing and any(not engine.missing for engine in engines if engine.subject in _SERVING)
    way = Finding("a way to a picture", "yes") if can_serve or not server.missing else _NO_WAY
    files = _repository(repository) if repository else ()
    return (*_versions(), server, triton, *engines, _gpu(), *_codecs(), *_landmarkers(), *files, way)


_SERVING = ("onnxruntime", "openvino")
_NO_WAY = Finding(
    "a way to a picture",
    "neither a server that answers nor what is needed to start one",
    "give --url, or pip install 'toonify-serve[server,cpu]'",
    essential=True,
)


def _versions() -> Iterator[Finding]:
    yield Finding("Python", platform.python_version())
    for package in PACKAGES:
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            # Another distribution may provide the same module, such as opencv-python.
            yield Finding(package, "not installed under this name")


def _server(connection: Connection, model: str) -> Finding:
    try:
        server = f"server at {connection}"
    except ServerError as error:  # no server has any of the names
        return Finding(error.subject, error.got, error.remedy)
    with connection.client(timeout=5) as client:
        try:
            served = client.describe(model)
        except ToonifyError as error:
            return Finding(server, error.got, error.remedy)
        attributes = ", ".join(served.attributes) or "none"
        return Finding(server, f"{model}, {served.resolution} pixels, attributes: {attributes}")


def _repository(repository: Path) -> Iterator[Finding]:
    try:
        yield Finding(f"repository {repository}", f"{check_models_too(repository)} models, no file altered")
        for model in unverified_models(repository):
            yield Finding(model, "its engine was built, not verified on a GPU", _VERIFY)
    except ToonifyError as error:
        yield Finding(f"repository {repository}", f"{error.subject}: {error.got}", error.remedy)


_VERIFY = "run on the GPU: toonify-export verify DIRECTORY, with its model directory; then write the repository again"


def _tritonserver() -> Finding:
    on_path = shutil.which("tritonserver")
    if on_path:
        return Finding("tritonserver", on_path)
    if find_spec("pytriton"):
        return Finding("tritonserver", "embedded, of the package nvidia-pytriton (loopback only)")
    return Finding("tritonserver", "none", f"{EMBEDDED_SERVER_REMEDY}, to serve from this machine")


def _engines() -> Iterator[Finding]:
    distributions = packages_distributions()  # onnxruntime, for example, may be that of onnxruntime-gpu
    for library, extra in ENGINES.items():
        if find_spec(library):
            names = distributions.get(library)
            yield Finding(library, version(names[0]) if names else "yes, of no installed package")
        else:
            yield Finding(library, "none", f"pip install 'toonify-serve[{extra}]', where models are run or exported")
    instruction_sets = instruction_sets_here()
    if instruction_sets:
        yield Finding("winograd", f"kernels of this package, compiled for {instruction_sets[0]}")
    else:
        yield Finding("winograd", "none that run here", "install g++ and then this package again, on x86-64 with AVX2")


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if not program:
        return Finding("GPU", "none of NVIDIA's; the processor does the work")
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Finding("GPU", "nvidia-smi fails", "run nvidia-smi, which reports what is wrong with the driver")
    return Finding("GPU", "; ".join(answer.splitlines()))


def _codecs() -> Iterator[Finding]:
    if not find_spec("av"):
        yield Finding("video files", "none", "pip install 'toonify-serve[video]', for toonify video and toonify cam")
        return
    from serving.video.encoders import nvenc_works
    from serving.video.libav import av

    yield Finding("video files", f"av {version('av')}")
    if "libx264" in av.codecs_available:
        yield Finding("H.264 by x264", "yes")
    else:
        yield Finding("H.264 by x264", "none", "pip install --force-reinstall av, whose own builds have it")
    yield Finding("H.264 by NVENC", "yes" if nvenc_works() else "no, x264 takes its place")


def _landmarkers() -> Iterator[Finding]:
    yield Finding("landmarks from a file", "yes")
    try:
        HaarLandmarker()
        yield Finding("landmarks by Haar cascades", "yes, coarse")
    except ToonifyError as error:
        yield Finding("landmarks by Haar cascades", error.got, error.remedy)
    try:
        for model in MODEL_FILES:
            present(model)
        yield Finding("landmarks by YuNet and a mesh", f"yes, with the files in {model_folder()}")
    except ToonifyError as error:
        yield Finding("landmarks by YuNet and a mesh", f"{error.subject}: {error.got}", error.remedy)
