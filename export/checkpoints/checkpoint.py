"""An opened checkpoint: named tensors and plain values, independent of the file's container format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from engines.hashed_files import sha256_of
from export.checkpoints.left_out import left_out
from export.checkpoints.stored_tensors import ReadContext, StoredTensor, StoredTensors, clipped
from export.weights import Source

Value = TypeVar("Value")

_WRAPPERS = re.compile(r"(?<![^.])(module|_orig_mod)\.")

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


def state_dict(content: object) -> dict[str, object]:
    """Return the named entries of a dict under their names without the wrappers of training; {} for anything else.

    A ``module.`` of data-parallel training and an ``_orig_mod.`` of ``torch.compile`` may stand before any part.
    Where two entries would have one name, all keep their wrappers.
    """
    if not isinstance(content, dict):
        return {}
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    plain = {_WRAPPERS.sub("", name): value for name, value in named.items()}
    return plain if len(plain) == len(named) else named


def entry_names(checkpoint: Checkpoint) -> set[str]:
    """Return the names in a file's dict and in the dicts in it, as ``state_dict`` returns them."""
    content = checkpoint.content
    names: set[str] = set()
    for part in [content, *content.values()] if isinstance(content, dict) else []:
        if isinstance(part, dict):
            # A file can name one dict many times.
            checkpoint.context.spend_entries(len(part))
            names |= state_dict(part).keys()
    return names


def tensors_of(context: ReadContext, content: object, what: str) -> StoredTensors:
    """Return ``content`` as a state dict, under names as ``state_dict`` returns them.

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
    return cast(StoredTensors, state_dict(content))


def strip_prefix(state: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the entries of a state dict whose names begin with ``prefix``, under their names without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
