"""The published model files by which faces are found: where they come from, and where they lie on this machine."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engines.contract.errors import AlignmentError
from engines.user_cache import user_cache

FOLDER_VARIABLE = "TOONIFY_MODELS"
"""Environment variable that names the folder of the files; with it, only ``toonify models get`` downloads."""

_TIMEOUT = (4.0, 20.0)
"""Seconds without a connection, and then without a byte, after which a download is given up."""


@dataclass(frozen=True)
class ModelFile:
    """A file that others publish.

    ``addresses``: where its publishers offer it, in the order in which they are tried. ``size``: bytes.
    """

    name: str
    addresses: tuple[str, ...]
    sha256: str
    size: int
    licence: str
    use: str


YUNET = ModelFile(
    "face_detection_yunet_2023mar.onnx",
    (
        "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
        "https://huggingface.co/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx",
    ),
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    232_589,
    "MIT",
    "finds faces (YuNet, of OpenCV's model zoo)",
)
MESH = ModelFile(
    "face_landmarker.task",
    ("https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",),
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    3_758_596,
    "Apache-2.0",
    "fits a mesh of 478 points to each face (MediaPipe)",
)
MODEL_FILES = (YUNET, MESH)


class Progress(Protocol):
    """Shows how much of a download has arrived; ``total`` and the arguments count bytes."""

    total: int

    def update(self, count: int) -> object:
        """Report that ``count`` more bytes have arrived."""
        ...

    def reset(self) -> object:
        """Report that none has arrived."""
        ...

    def close(self) -> object:
        """End the display."""
        ...


def model_folder() -> Path:
    """Return the folder of the files: that of ``TOONIFY_MODELS``, or one in the user's cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_cache()


def present(model: ModelFile, folder: Path | None = None) -> Path:
    """Return the path of a file that is there already.

    Raises:
        AlignmentError: it is missing, or it is another file than the published one.
    """
    path = (folder or model_folder()) / model.name
    if not path.is_file():
        raise _absent(model, path, "no such file")
    if not _is_published(path, model):
        raise _absent(model, path, "a file with another SHA-256 than the published one")
    return path


def obtained(model: ModelFile, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the path of a file, which is downloaded first unless it is there; what is not the published file goes.

    The download appears under its name once its SHA-256 is right. Several processes may download at the same time.

    Raises:
        AlignmentError: no address offers the published file, or the folder cannot be written.
    """
    path = (folder or model_folder()) / model.name
    if path.is_file() and _is_published(path, model):
        return path
    failures: list[str] = []
    for address in model.addresses:
        failure = _download(address, model, path, progress)
        if failure is None:
            return path
        failures.append(failure)
    raise _absent(model, path, failures[0])


def _download(address: str, model: ModelFile, path: Path, progress: Progress | None) -> str | None:
    """Download a file; return what was got instead of it, None if it is there."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)  # the display of the progress says the rest
    downloader: Any = pooch.HTTPDownloader(progressbar=progress or False, chunk_size=2**15, timeout=_TIMEOUT)
    try:
        pooch.retrieve(address, f"sha256:{model.sha256}", path.name, path.parent, downloader=downloader)
    except ValueError:  # pooch's error for a wrong hash
        return f"a file with another SHA-256 than the published one from {address}"
    except OSError as error:  # requests' errors among them, which have no errno
        answer = getattr(getattr(error, "response", None), "status_code", None)
        if answer is not None:
            return f"status {answer} from {address}"
        return f"{error.strerror} at {path.parent}" if error.errno and error.strerror else f"no download of {address}"
    return None


def _is_published(path: Path, model: ModelFile) -> bool:
    import pooch

    try:
        return path.stat().st_size == model.size and pooch.file_hash(str(path)) == model.sha256
    except OSError:
        return False


def _absent(model: ModelFile, path: Path, got: str) -> AlignmentError:
    return AlignmentError(
        model.name,
        got=got,
        expected=f"the published file in {path.parent}",
        remedy=f"run toonify models get where there is a network, or put the file of {model.addresses[0]} there, "
        f"or name a folder that has it in {FOLDER_VARIABLE}",
    )
