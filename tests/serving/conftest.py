"""Fixtures of several tests of serving: a server that is no Triton, and certificates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from certificates import Authority, Pair
from fake_triton import FakeTriton, running


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    """A server in this process, which answers as Triton does."""
    with running(FakeTriton()) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of certificates, with a folder of its own."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def here(authority: Authority) -> Pair:
    """The certificate of a server on this machine, and its key."""
    return authority.issue("here", "localhost", "127.0.0.1")
