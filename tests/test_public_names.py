from __future__ import annotations

import pytest

import serving


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


def test_every_public_name_can_be_loaded() -> None:
    assert [getattr(serving, name).__name__ for name in serving.__all__] == serving.__all__


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'serving' has no attribute 'ToonClient'"):
        serving.ToonClient  # noqa: B018
