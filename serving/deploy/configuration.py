"""The whole of Envoy's configuration, as the JSON file that it reads."""

from __future__ import annotations

import json
from pathlib import Path

from engines.contract.atomic import atomic_file
from serving.deploy.downstream import listener
from serving.deploy.edge import Edge
from serving.deploy.extensions import Json, named, typed
from serving.deploy.limits import MIB
from serving.deploy.upstream import cluster

_OWNER_ONLY = 0o600
_MEMORY = 512 * MIB
"""Memory of Envoy itself and of small requests, beside that of the largest requests which are admitted."""
_CONNECTIONS = 4096
"""Most connections of clients, each of which costs memory also when it is idle."""


def configuration(edge: Edge, admin: Path | None = None) -> Json:
    """Return the configuration; ``admin`` is a socket's path for Envoy's administration, which has no port."""
    return {
        **({"admin": {"address": {"pipe": {"path": str(admin), "mode": _OWNER_ONLY}}}} if admin else {}),
        "static_resources": {"listeners": [listener(edge)], "clusters": [cluster(edge)]},
        "overload_manager": overload_manager(edge),
    }


def overload_manager(edge: Edge) -> Json:
    """Bound memory and connections.

    Requests are held whole, also those that are refused afterwards, so that many clients could fill the memory. At its
    limit further requests are refused.
    """
    kinds = "extensions.resource_monitors"
    heap, connections = (
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    )
    memory = _MEMORY + 2 * edge.admitted * edge.max_message
    bounded = typed(f"{kinds}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=memory)
    counted = typed(
        f"{kinds}.downstream_connections.v3.DownstreamConnectionsConfig", max_active_downstream_connections=_CONNECTIONS
    )
    refusal = {
        "name": "envoy.overload_actions.stop_accepting_requests",
        "triggers": [{"name": heap, "threshold": {"value": 0.95}}],
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [named(heap, bounded), named(connections, counted)],
        "actions": [refusal],
    }


def text_of(config: Json) -> str:
    """Return the configuration as Envoy reads it from a file with the suffix ``.json``."""
    return json.dumps(config, indent=2) + "\n"


def without_secrets(text: str, edge: Edge) -> str:
    """Return a text in which every key is replaced by ***."""
    for secret in sorted(edge.secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def write_configuration(edge: Edge, target: Path, *, force: bool = False) -> None:
    """Write a configuration for an Envoy that is started elsewhere; only its owner can read the file, which holds keys.

    Raises:
        ExportError: the file is there and ``force`` is not given, or it cannot be written.
    """
    with atomic_file(target, force=force, mode=_OWNER_ONLY) as path:
        path.write_text(text_of(configuration(edge)), encoding="utf-8")
