from __future__ import annotations

from types import ModuleType

import pytest

import engines
import engines.contract
import serving
import serving.client


def test_the_public_names_of_serving_are_these() -> None:
    assert serving.__all__ == [
        "AlignmentError",
        "AsyncToonSession",
        "AsyncToonifyClient",
        "BlendError",
        "CheckpointError",
        "EngineError",
        "EngineToonifier",
        "ExportError",
        "ModelDirectoryError",
        "Pipeline",
        "RepositoryError",
        "RequestError",
        "ServedToonifier",
        "ServerError",
        "Style",
        "ToonSession",
        "Toonifier",
        "ToonifyClient",
        "ToonifyError",
        "TritonServer",
        "VerificationError",
        "VideoError",
        "VideoReport",
        "toonify_video",
    ]


@pytest.mark.parametrize("package", [engines, engines.contract, serving], ids=lambda package: package.__name__)
def test_every_public_name_can_be_loaded(package: ModuleType) -> None:
    assert [getattr(package, name).__name__ for name in package.__all__] == package.__all__


def test_the_errors_of_the_contract_are_those_of_serving() -> None:
    assert {name: getattr(serving, name) for name in engines.contract.__all__} == {
        name: getattr(engines.contract, name) for name in engines.contract.__all__
    }


def test_the_clients_stand_in_their_package_with_their_defaults() -> None:
    assert serving.client.ToonifyClient is serving.ToonifyClient
    assert serving.client.AsyncToonifyClient is serving.AsyncToonifyClient
    assert (serving.client.DEFAULT_URL, serving.client.DEFAULT_MODEL) == ("127.0.0.1:8001", "toonify")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'serving' has no attribute 'ToonClient'"):
        serving.ToonClient  # noqa: B018
