"""Writing of ONNX files."""

from __future__ import annotations

from pathlib import Path

import onnx

EXTERNAL_DATA_BYTES = 1 << 29
"""The size above which weights are stored in a file beside the graph: a protobuf message is limited to 2 GiB."""


def save_model(proto: onnx.ModelProto, path: Path) -> None:
    """Write a model, with its weights in ``<path>.data`` if it is large."""
    large = proto.ByteSize() > EXTERNAL_DATA_BYTES
    onnx.save(proto, path, save_as_external_data=large, location=f"{path.name}.data" if large else None)
