"""safetensors files: this package's own generator format, and state dicts of other projects."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.layout import checked_clamp, checked_resolution
from export.checkpoints.stored_tensors import ELEMENTS, ReadContext, Storage, StoredTensor, clipped
from export.checkpoints.validation import check_generator
from export.weights import GeneratorWeights

LARGEST_HEADER = 4 << 20
"""Bytes for some 30,000 tensors, each of which takes 30 us to read; an encoder with its generator has 1,000."""

FORMAT = "toonify-serve generator 1"
"""The value of ``format`` in the metadata; its number changes when older readers would misread the file."""


@dataclass(frozen=True)
class SafetensorsFile:
    """A generator under the names of ``export.weights``, with its metadata."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def read_safetensors(path: Path, head: bytes, context: ReadContext) -> object:
    """Return a SafetensorsFile if this package wrote the file, else a plain dict of its tensors.

    ``head`` is the file's beginning, at least 8 bytes.

    Raises:
        CheckpointError: the file is damaged, has a header for more tensors than any network, or holds a number type
            that NumPy does not have.
    """
    (header_size,) = struct.unpack("<Q", head[:8])
    if LARGEST_HEADER < header_size < context.file_size:
        raise context.error(
            f"a safetensors header of {header_size} bytes",
            expected=f"at most {LARGEST_HEADER}, enough for 30,000 tensors",
            remedy="save only the network's weights",
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: _stored_tensor(context, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError, AttributeError):
        raise context.error("a damaged safetensors file", expected="a whole file") from None
    return SafetensorsFile(tensors, metadata) if metadata.get("format", "").startswith("toonify-serve") else tensors


def _stored_tensor(context: ReadContext, array: NDArray[Any]) -> StoredTensor:
    strides = tuple(stride // array.itemsize for stride in array.strides)
    data = array.reshape(-1).data.cast("B")
    return StoredTensor(Storage(context, ELEMENTS[array.dtype.name], array.nbytes, data), 0, array.shape, strides)


def metadata_of(weights: GeneratorWeights) -> dict[str, str]:
    """Return the generator's options, which its tensors do not determine, as metadata."""
    options = {"conv_clamp": weights.conv_clamp, "fp16_from": weights.fp16_from, "notes": weights.notes}
    return {"format": FORMAT, "options": json.dumps(options)}


def generator_from_safetensors(checkpoint: Checkpoint, content: SafetensorsFile) -> GeneratorWeights:
    """Read a generator in this package's own format.

    Raises:
        CheckpointError: the file has another format version, or is damaged.
    """
    context, metadata = checkpoint.context, content.metadata
    if metadata["format"] != FORMAT:
        raise context.error(
            f"the format {clipped(metadata['format'])}", expected=FORMAT, remedy="convert the original checkpoint again"
        )
    try:
        options = json.loads(metadata.get("options", ""))
        clamp, fp16_from, notes = options["conv_clamp"], int(options["fp16_from"] or 0), options["notes"]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        raise context.error("damaged metadata", expected="the options of a generator") from None
    tensors = {name: tensor.array() for name, tensor in content.tensors.items()}
    check_generator(context, tensors)
    return GeneratorWeights(
        tensors,
        checkpoint.source("toonify-serve"),
        conv_clamp=checked_clamp(context, clamp),
        fp16_from=checked_resolution(context, fp16_from) if fp16_from else None,
        notes=tuple(str(note) for note in notes) if isinstance(notes, list) else (),
    )
