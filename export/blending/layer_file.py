"""Schedules in a JSON file, with any number of models, a share for every layer group, and channel masks.

    {
      "models": ["ffhq", "cartoon", "anime"],
      "groups": [
        {"resolutions": [4, 8, 16], "shares": {"cartoon": 1}},
        {"resolutions": [32], "parts": ["up", "conv"], "shares": {"cartoon": 0.5, "anime": 0.5}},
        {"resolutions": [64], "parts": ["conv"], "shares": {"ffhq": 1},
         "masks": [{"channels": [7, [32, 63]], "shares": {"ffhq": 0.25, "anime": 0.75}}]}
      ]
    }

``models`` names the models, base first, in the order in which the command is given their checkpoints. Each entry of
``groups`` sets the shares of the groups ``parts`` (``up``: the upsampling convolution, at 4 the constant; ``conv``;
``rgb``; default all three) at ``resolutions``. Shares lie in 0..1 and sum to 1; a model that is not named has 0. Groups
that no entry mentions come from the base; a group in two entries is refused. ``masks`` set other shares for some of the
layer's output channels, given as numbers from 0 and as [first, last] ranges; a channel may be in one mask only.

A file that cannot be read, does not follow this format or does not fit the generator raises a BlendError that names the
file, the position in it, and what is expected there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.contract.errors import BlendError
from export.blending.groups import PARTS, ChannelMask, Group, Part, Shares, groups_of

Channel = Annotated[int, Field(ge=0, lt=1 << 16)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MaskEntry(_Entry):
    """An entry of ``masks``: the shares for some output channels."""

    channels: list[Channel | Annotated[list[Channel], Field(min_length=2, max_length=2)]] = Field(min_length=1)
    shares: dict[str, Share]


class GroupEntry(_Entry):
    """An entry of ``groups``: the shares for some layer groups."""

    resolutions: list[int] = Field(min_length=1)
    parts: list[Part] = Field(default=list(PARTS), min_length=1)
    shares: dict[str, Share]
    masks: list[MaskEntry] = []


class LayerFile(_Entry):
    """The root object of the file."""

    models: list[str] = Field(min_length=2)
    groups: list[GroupEntry] = Field(min_length=1)


def shares_from_file(path: Path, resolution: int) -> dict[Group, Shares]:
    """Read the shares of every layer group of a generator of this resolution.

    Raises:
        BlendError: see the module's description.
    """
    file = _parsed(path)
    if len(set(file.models)) != len(file.models):
        raise _error(path, f"the models {', '.join(file.models)}", "different names")
    base = Shares((1.0,) + (0.0,) * (len(file.models) - 1))
    shares: dict[Group, Shares] = {}
    for entry in file.groups:
        entry_shares = _entry_shares(path, file.models, entry)
        for group in (Group(r, part) for r in entry.resolutions for part in entry.parts):
            if group in shares:
                raise _error(path, f"layer group {group} twice", "each group once")
            shares[group] = entry_shares
    if unknown := shares.keys() - set(groups_of(resolution)):
        names = ", ".join(sorted(map(str, unknown)))
        raise _error(path, f"layer groups {names}", f"those of a generator of {resolution}")
    return {group: shares.get(group, base) for group in groups_of(resolution)}


def _parsed(path: Path) -> LayerFile:
    try:
        return LayerFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _error(path, error.strerror or "no readable file", "a schedule in JSON") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top level"
        raise _error(path, f"{first['msg']} at {place}", "the format of export.blending.layer_file") from None


def _entry_shares(path: Path, models: Sequence[str], entry: GroupEntry) -> Shares:
    masks = tuple(
        ChannelMask(_channels(path, mask.channels), _vector(path, models, mask.shares)) for mask in entry.masks
    )
    listed = [channel for mask in masks for channel in mask.channels]
    if len(set(listed)) != len(listed):
        raise _error(path, "a channel that two masks or two ranges name", "each channel of a layer once")
    return Shares(_vector(path, models, entry.shares), masks)


def _channels(path: Path, entries: Sequence[int | list[int]]) -> tuple[int, ...]:
    ranges = [(entry, entry) if isinstance(entry, int) else tuple(entry) for entry in entries]
    for first, last in ranges:
        if first > last:
            raise _error(path, f"the channel range [{first}, {last}]", "[first, last]")
    return tuple(channel for first, last in ranges for channel in range(first, last + 1))


def _vector(path: Path, models: Sequence[str], shares: dict[str, float]) -> tuple[float, ...]:
    if unknown := shares.keys() - set(models):
        raise _error(path, f"a share of {', '.join(sorted(unknown))}", f"shares of {', '.join(models)}")
    return tuple(shares.get(model, 0.0) for model in models)


def _error(path: Path, got: str, expected: str) -> BlendError:
    return BlendError(str(path), got=got, expected=expected, remedy="correct the file")
