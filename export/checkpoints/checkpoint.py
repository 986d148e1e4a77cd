"""An opened checkpoint: named tensors and plain values, independent of the file's container format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.hashed_files import sha256_of
from export.checkpoints.left_out import left_out
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.weights import Source

Container = Literal["zip", "legacy", "pickle", "safetensors"]


@dataclass(frozen=True)
class Checkpoint:
    """An opened file. ``content`` consists of dicts, lists, scalars, StoredTensors and the inert stand-ins."""

    path: Path
    container: Container
    content: object
    context: ReadContext

    def source(self, layout: str) -> Source:
        """Return the origin of weights after all of them were read from this file.

        ``layout`` names the project whose tensor names the file uses.
        """
        return Source(self.path, f"{layout} ({self.container})", sha256_of(self.path), left_out(self.content))


def tensors_of(context: ReadContext, content: object, what: str) -> StoredTensors:
    """Return ``content`` as a state dict, without the ``module.`` prefix of data-parallel training.

    Raises:
        CheckpointError: ``content`` is not a dict of tensors.
    """
    if not isinstance(content, dict) or not content:
        raise context.error(
            "no named tensors", expected=f"the state dict of {what}", remedy="check that this is its file"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            raise context.error(
                f"the entry {clipped(name)} among the tensors",
                expected=f"the state dict of {what}",
                remedy="check that this is its file",
            )
    prefixed = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in content.items()}


def strip_prefix(content: object, prefix: str) -> dict[str, object]:
    """Return the entries of a state dict whose names begin with ``prefix``, under their names without it."""
    if not isinstance(content, dict):
        return {}
    return {name[len(prefix) :]: v for name, v in content.items() if isinstance(name, str) and name.startswith(prefix)}
