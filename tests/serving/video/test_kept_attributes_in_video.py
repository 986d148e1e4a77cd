"""An edit in a video keeps the attributes that it does not name, as the first frames of each track show them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from toon_fakes import RATE, FakeToonifier, Pixels, drawn, face_at, landmarks, room

from serving.controls import Style
from serving.video.session import ToonSession
from serving.video.track_attributes import READINGS, TrackAttributes

FACE, OTHER = face_at(110, 120, 80), face_at(230, 110, 60)
PICTURE = drawn(OTHER, drawn(FACE, room()))
AGE = Style(attributes={"age": 1})


def run(toonifier: FakeToonifier, frames: int, style: Style = AGE, **options: Any) -> None:
    options = {"smoothing": "off"} | options
    with ToonSession(toonifier, landmarks((FACE, OTHER)), style=style, **options) as stream:
        for i in range(frames):
            stream.push(PICTURE, Fraction(i, RATE))
        stream.flush()


def test_the_last_frames_of_a_file_are_edited_alike() -> None:
    # With a look-ahead, they are rendered after the tracker has begun anew.
    toonifier = FakeToonifier(attributes=constant)
    run(toonifier, READINGS + 12, smoothing="file")
    assert len(toonifier.shown) == READINGS + 12
    for shown in toonifier.shown:
        np.testing.assert_allclose(shown, constant(PICTURE), rtol=1e-6)


def readings(toonifier: FakeToonifier) -> int:
    return sum(name == "attributes" for name, _ in toonifier.calls)


def constant(faces: Pixels) -> np.ndarray:
    return np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)[: len(faces)]


@pytest.mark.parametrize("codes", [True, False], ids=["smoothed codes", "single requests"])
def test_attributes_are_read_from_the_first_frames_only(codes: bool) -> None:
    toonifier = FakeToonifier(attributes=constant)
    run(toonifier, READINGS + 4, **({} if codes else {"codes": None}))
    assert readings(toonifier) == READINGS
    assert len(toonifier.shown) == READINGS + 4
    for shown in toonifier.shown:
        np.testing.assert_allclose(shown, constant(PICTURE), rtol=1e-6)


@pytest.mark.parametrize("style", [Style(), Style(attributes={"age": 1}, exact=True)], ids=["no edit", "exact"])
def test_nothing_is_read_where_nothing_is_kept(style: Style) -> None:
    toonifier = FakeToonifier(attributes=constant)
    run(toonifier, 3, style)
    assert readings(toonifier) == 0
    assert toonifier.shown == [None] * 3


def test_what_the_caller_does_not_say_is_left_to_the_classifier() -> None:
    toonifier = FakeToonifier(attributes=constant)
    run(toonifier, 3, Style(attributes={"age": 1}, keep={"gender": 1}))
    assert readings(toonifier) == 3
    assert all(shown is not None for shown in toonifier.shown)


def test_without_a_classifier_nothing_is_shown() -> None:
    toonifier = FakeToonifier()
    run(toonifier, 3)
    assert toonifier.shown == [None] * 3


def test_readings_of_a_track_are_averaged() -> None:
    attributes = TrackAttributes()
    assert attributes.due([1])
    first = attributes.push([1], np.array([[1, 0]], np.float32))
    assert attributes.due([1, 2])
    both = attributes.push([1, 2], np.array([[0, 0], [1, 1]], np.float32))
    np.testing.assert_array_equal(first, [[1, 0]])
    np.testing.assert_array_equal(both, [[0.5, 0], [1, 1]])
    np.testing.assert_array_equal(attributes.push([2], None), [[1, 1]])
    assert attributes.push([3], None) is None


def test_old_tracks_are_forgotten() -> None:
    attributes = TrackAttributes()
    for track in range(1000):
        attributes.due([track])
        attributes.push([track], np.zeros((1, 2), np.float32))
    assert attributes.push([0], None) is None
    assert attributes.push([999], None) is not None
