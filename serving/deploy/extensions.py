"""Envoy's extensions in the JSON form of its configuration: an object of any type says which one it is."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def typed(kind: str, **fields: Any) -> Json:
    """Return an object that names its type, which stands below the package ``envoy``."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def seconds(duration: float) -> str:
    """Return a duration in the form of protocol buffers, to the millisecond."""
    return f"{duration:.3f}s"


def named(name: str, configuration: Json) -> Json:
    """Return an extension by its name, with its configuration."""
    return {"name": name, "typed_config": configuration}
