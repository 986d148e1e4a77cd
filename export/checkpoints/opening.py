"""Opening a checkpoint file of any supported container format."""

from __future__ import annotations

import mmap
from pathlib import Path

from engines.contract.errors import CheckpointError
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.safetensors_files import read_safetensors
from export.checkpoints.stored_tensors import ReadContext
from export.checkpoints.torch_files import is_legacy, read_legacy, read_pickle, read_zip

_NOT_CHECKPOINTS = {
    b"<": "a web page, which a failed download leaves",
    b"version https://git-lfs": "a Git LFS pointer instead of the file",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x08": "what seems to be an ONNX model",
}


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint; its container format is recognised by the first bytes.

    Raises:
        CheckpointError: the file does not exist, has an unknown format, or is damaged or unsafe.
    """
    context, data = _map_file(path)
    head = bytes(data[:64])
    if head.startswith(b"PK\x03\x04"):
        return Checkpoint(path, "zip", read_zip(data, context), context)
    if is_legacy(head):
        return Checkpoint(path, "legacy", read_legacy(data, context), context)
    # The size of a safetensors header may begin with the byte of a pickle; no pickle begins with a size that fits.
    fits = int.from_bytes(head[:8], "little") <= context.file_size
    if head.startswith(b"\x80") and not (head[8:9] == b"{" and fits):
        return Checkpoint(path, "pickle", read_pickle(data, context), context)
    if head[8:9] == b"{":
        return Checkpoint(path, "safetensors", read_safetensors(path, head, context), context)
    known = (name for start, name in _NOT_CHECKPOINTS.items() if head.startswith(start))
    raise context.error(
        next(known, "a file of another format"),
        expected="a .pt, .ckpt, .pkl or .safetensors checkpoint",
        remedy="give the original checkpoint file",
    )


def _map_file(path: Path) -> tuple[ReadContext, memoryview]:
    """Map the file into memory; the mapping lives as long as any view of it."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise CheckpointError(
            str(path), got=f"{error.strerror}", expected="a readable checkpoint file", remedy="check the path"
        ) from None
    return ReadContext(str(path), size), memoryview(data)
