"""The base of everything that a manifest holds: values that do not change, and no unknown field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ManifestEntry(BaseModel):
    """An entry of a manifest, or the manifest itself; JSON has no infinite numbers, which are written as strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
