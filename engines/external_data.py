"""The files that an ONNX model names for its weights, which only the manifest's hashes make safe to load."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def external_files(model: Path) -> set[str]:
    """The files that the model names for its weights; none if it is no ONNX model.

    A model without any such name, which is every model below 2 GB that this package exports, is not parsed.
    """
    return set(_locations(model)) if _mentions(model, b"location") else set()


def _mentions(path: Path, key: bytes) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(key) >= 0


def _locations(model: Path) -> Iterator[str]:
    # Not imported at the top: a server with TensorRT plans alone has no onnx.
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(model, load_external_data=False)
    except DecodeError:
        return  # the engine says what is wrong with it
    for tensor in _tensors(proto):
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor in a protobuf message: initializers, attributes, those of functions and of graphs in attributes."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Collection) else [value]:
                yield from _tensors(part)
