"""Writing of ONNX files."""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx
from onnx.helper import tensor_dtype_to_np_dtype

EXTERNAL_DATA_BYTES = 1 << 29
"""The size above which weights are stored in a file beside the graph: a protobuf message is limited to 2 GiB."""


def save_model(proto: onnx.ModelProto, path: Path) -> None:
    """Write a model, with its weights in ``<path>.data`` if it is large."""
    large = _bytes_of_weights(proto) > EXTERNAL_DATA_BYTES
    onnx.save(proto, path, save_as_external_data=large, location=f"{path.name}.data" if large else None)


def _bytes_of_weights(proto: onnx.ModelProto) -> int:
    """Count without ``ByteSize``, which writes the whole message to count it: 6 s for the 1.1 GB of an e4e encoder."""
    tensors = proto.graph.initializer
    return sum(prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in tensors)
