"""Fixtures of the tests of deployments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helm import Helm, unpack_helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The real Helm."""
    return unpack_helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture
def check_serve_arguments(built_cli: Any) -> Callable[[list[str]], None]:
    """A function that refuses what the command ``toonify`` itself would refuse; it begins with "serve"."""

    def check(arguments: list[str]) -> None:
        command, *options = arguments
        built_cli.commands[command].make_context(command, options)

    return check
