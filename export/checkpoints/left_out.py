"""Which tensors of a checkpoint no reader used: each is named with the reason, so that nothing is lost unnoticed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from export.checkpoints.stand_ins import NvObject, TfNetwork
from export.checkpoints.stored_tensors import StoredTensor

Path = tuple[str, ...]

_MOST_LINES = 20
_MOST_NAMES = 16
"""Names that lead to a tensor, of which official files have up to ten; a crafted file must not buy long paths."""

_REASONS = {
    "num_batches_tracked": "a counter of training",
    "D": "the discriminator, which only training needs",
    "d": "the discriminator, which only training needs",
    "discriminator": "the discriminator, which only training needs",
    "generator": "the weights of the last step; their running average is used",
    "ToRGB_lod*/weight": "toRGB of lower resolutions, which only progressive growing uses",
    "ToRGB_lod*/bias": "toRGB of lower resolutions, which only progressive growing uses",
    "output*": "toRGB of lower resolutions, which only progressive growing uses",
    "truncation": "a default of the truncation, which is chosen at run time",
    "out_src": "the branch of the discriminator that only training needs",
    "mapnet": "the ISF head; its classifier was read",
    "G": "the weights of the last step; their running average is used",
    "g": "the weights of the last step; their running average is used",
    "augment_pipe": "the augmentation of training",
    "decoder": "the generator; the encoder was read",
    "encoder": "the encoder; the generator was read",
    "style": "the mapping network, which an encoder does not need",
    "lod": "progressive growing, which this architecture does not use",
    "g_optim": "the state of an optimizer",
    "d_optim": "the state of an optimizer",
    "optimizer": "the state of an optimizer",
    "optim": "the state of an optimizer",
}
"""The reason by the name of the part, in whichever format it occurs."""

_REASONS_OF_ISF = {
    "discriminator": "the discriminator of training, whose classifier toonify-export classifier reads",
}
"""The reason in the checkpoint of an ISF head."""


def left_out(content: object) -> tuple[str, ...]:
    """Return a line for each part of ``content`` whose tensors were never converted to an array.

    It holds after a reader has converted all that it uses. The lines give name, number of tensors and reason, for
    example ``discriminator (35 tensors): the discriminator, which only training needs``.
    """
    tensors = list(_tensors(content))
    used = {path[:n] for path, tensor in tensors if tensor.converted for n in range(len(path) + 1)}
    parts = Counter(_part(path, used) for path, tensor in tensors if not tensor.converted)
    is_isf = isinstance(content, dict) and "mapnet" in content
    reasons = _REASONS | (_REASONS_OF_ISF if is_isf else {})
    lines = [_line(part, count, reasons) for part, count in parts.items()]
    others = [f"{len(lines) - _MOST_LINES} parts more"] if len(lines) > _MOST_LINES else []
    return (*lines[:_MOST_LINES], *others)


def _tensors(content: object) -> Iterator[tuple[Path, StoredTensor]]:
    """Every tensor once, with the keys that lead to it."""
    pending: list[tuple[Path, object]] = [((), content)]
    seen: set[int] = set()
    while pending:
        path, value = pending.pop()
        # A pickle may hold one object in many places, or within itself.
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, StoredTensor):
            yield path, value
        pending += [(_extended(path, key), child) for key, child in _children(value)][::-1]


def _extended(path: Path, key: str) -> Path:
    return (*path, *key[:200].split("."))[:_MOST_NAMES]


def _children(value: object) -> list[tuple[str, object]]:
    if isinstance(value, NvObject | TfNetwork):
        value = value.state
    if isinstance(value, dict):
        return [(key if isinstance(key, str) else "*", child) for key, child in value.items()]
    if isinstance(value, list | tuple):
        if len(value) == 3 and all(isinstance(child, TfNetwork) for child in value):
            return list(zip(("G", "D", "Gs"), value, strict=True))
        return [_named(i, child) for i, child in enumerate(value)]
    return []


def _named(i: int, child: object) -> tuple[str, object]:
    """A TensorFlow variable, which is a pair (name, value), by its name; anything else by its index."""
    match child:
        case (str(name), StoredTensor() as tensor):
            return name, tensor
        case _:
            return str(i), child


def _part(path: Path, used: set[Path]) -> str:
    """The shortest beginning of ``path`` under which nothing was used; numbers within it become a star."""
    length = next((n for n in range(1, len(path)) if path[:n] not in used), len(path))
    names = [re.sub(r"\d+", "*", name) for name in path[:length]]
    return ascii(".".join(names)[:100])[1:-1]


def _line(part: str, count: int, reasons: Mapping[str, str]) -> str:
    reason = reasons.get(part.rpartition(".")[2], "it is not part of the network that was read")
    return f"{part} ({count} tensor{'s' * (count != 1)}): {reason}"
