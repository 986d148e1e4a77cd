"""From a path to a checkpoint's content: named tensors and plain values, whatever the container."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.model_directory import sha256_of
from export.checkpoints.safetensors_files import read_safetensors
from export.checkpoints.stored import Reading, StoredTensor, StoredTensors, clipped
from export.checkpoints.torch_files import is_legacy, read_legacy, read_pickle, read_zip
from export.weights import Source
from serving.errors import CheckpointError

Container = Literal["zip", "legacy", "pickle", "safetensors"]

_NOT_CHECKPOINTS = {
    b"<": "a web page, as failed downloads leave it",
    b"version https://git-lfs": "a Git LFS pointer instead of the file",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x08": "what seems to be an ONNX model",
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened file. ``content`` consists of dicts, lists, scalars, StoredTensors and the inert stand-ins."""

    path: Path
    container: Container
    content: object
    reading: Reading

    def source(self, layout: str) -> Source:
        """Where weights of this file came from; ``layout`` names whose tensor names it uses."""
        return Source(self.path, f"{layout} ({self.container})", sha256_of(self.path))


def open_checkpoint(path: Path) -> Checkpoint:
    """Read any of the containers.

    Raises:
        CheckpointError: there is no such file, its format is unknown, or it is damaged or unsafe.
    """
    reading, data = _mapped(path)
    head = bytes(data[:64])
    if head.startswith(b"PK\x03\x04"):
        return Checkpoint(path, "zip", read_zip(path, data, reading), reading)
    if is_legacy(head):
        return Checkpoint(path, "legacy", read_legacy(data, reading), reading)
    if head.startswith(b"\x80"):
        return Checkpoint(path, "pickle", read_pickle(data, reading), reading)
    if head[8:9] == b"{":
        return Checkpoint(path, "safetensors", read_safetensors(path, reading), reading)
    known = (name for start, name in _NOT_CHECKPOINTS.items() if head.startswith(start))
    raise reading.error(
        next(known, "a file of another format"),
        expected="a .pt, .ckpt, .pkl or .safetensors checkpoint",
        remedy="give the original checkpoint file",
    )


def _mapped(path: Path) -> tuple[Reading, memoryview]:
    """The file's bytes; the mapping lives as long as any view of it."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise CheckpointError(
            str(path), got=f"{error.strerror}", expected="a readable checkpoint file", remedy="check the path"
        ) from None
    return Reading(str(path), size), memoryview(data)


def tensors_of(reading: Reading, content: object, what: str) -> StoredTensors:
    """``content`` as a state dict, without the ``module.`` prefix of data-parallel training.

    Raises:
        CheckpointError: it is not a dict of tensors.
    """
    if not isinstance(content, dict) or not content:
        raise reading.error(
            "no named tensors", expected=f"the state dict of {what}", remedy="check that this is its file"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            raise reading.error(
                f"the entry {clipped(name)} among the tensors",
                expected=f"the state dict of {what}",
                remedy="check that this is its file",
            )
    prefixed = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in content.items()}


def with_prefix(content: object, prefix: str) -> dict[str, object]:
    """The entries of a state dict whose names begin with ``prefix``, which is cut off once, at the front."""
    if not isinstance(content, dict):
        return {}
    return {name[len(prefix) :]: v for name, v in content.items() if isinstance(name, str) and name.startswith(prefix)}
