"""Stability of crops and codes, for faces whose landmarks have known noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from toon_fakes import drawn, face_at, face_from_points, room

from engines.contract.errors import RequestError
from serving.faces.alignment import Placement, placement_of_face
from serving.video.stability import (
    CodeFilter,
    CutDetector,
    FullCodeSchedule,
    GaussianFilter,
    NoFilter,
    OneEuroFilter,
    PlacementFilter,
    RowWeights,
    placement_from_similarity,
    similarity_from_placement,
)
from serving.video.tracking import Track

RATE = 30
CORNERS = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])


def placements(
    x: NDArray[np.float64], angle: NDArray[np.float64] | float = 0.0, noise: float = 1.0, seed: int = 0
) -> list[Placement]:
    """Return placements, 600 pixels wide, of a face at x whose landmarks have normally distributed noise, in pixels."""
    rng = np.random.default_rng(seed)
    angles = np.broadcast_to(angle, len(x))
    points = [face_at(900 + dx, 500, 600, turn).points for dx, turn in zip(x, angles, strict=True)]
    return [placement_of_face(each + rng.normal(0, noise, each.shape)) for each in points]


def filtered(steady: PlacementFilter, raw: Sequence[Placement | None], rate: float = RATE) -> list[Placement]:
    """Return a filter's output for one track; None stands for a frame in which the face was not detected."""
    given, last = [], raw[0]
    for i, placement in enumerate(raw):
        last = last if placement is None else placement
        assert last is not None
        given.append(steady.push((Track(0, last, seen=placement is not None),), i / rate))
    frames = [tracks for tracks in given if tracks is not None] + steady.flush()
    assert len(frames) == len(raw)
    return [tracks[0].placement for tracks in frames]


def corners(crops: Sequence[Placement]) -> NDArray[np.float64]:
    return np.array([crop @ CORNERS for crop in crops])


def jitter(crops: Sequence[Placement]) -> float:
    """Return the mean distance, in pixels, by which the corners move from frame to frame."""
    return float(np.hypot(*np.moveaxis(np.diff(corners(crops), axis=0), 1, 0)).mean())


def error(crops: Sequence[Placement], truth: Sequence[Placement]) -> float:
    """Return the mean distance, in pixels, of the corners from their true positions."""
    return float(np.hypot(*np.moveaxis(corners(crops) - corners(truth), 1, 0)).mean())


@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(20, 3000), st.floats(-3.1, 3.1))
def test_a_placement_is_its_similarity(x: float, y: float, side: float, angle: float) -> None:
    similarity = np.array([x, y, np.log(side), angle])
    placement = placement_from_similarity(similarity)
    np.testing.assert_allclose(placement @ [0.5, 0.5, 1], [x, y], atol=1e-9)
    np.testing.assert_allclose(np.hypot(*placement[:, :2]), side)
    np.testing.assert_allclose(similarity_from_placement(placement), similarity, atol=1e-9)


def test_the_crop_of_a_face_survives_unchanged() -> None:
    crops = placements(np.zeros(3))
    np.testing.assert_allclose(filtered(NoFilter(), crops), crops)
    np.testing.assert_allclose([placement_from_similarity(similarity_from_placement(c)) for c in crops], crops)


# Measured: 6.0 pixels a frame without a filter, 1.24 with the one-euro filter, 0.42 with the Gaussian.
@pytest.mark.parametrize(("steady", "times"), [(OneEuroFilter(), 3.0), (GaussianFilter(), 8.0)], ids=["live", "file"])
def test_the_crop_of_a_still_face_jitters_less(steady: PlacementFilter, times: float) -> None:
    raw = placements(np.zeros(240))
    assert jitter(filtered(steady, raw)) < jitter(raw) / times


# Measured while the head swings by 150 pixels and 14 degrees once a second: 4.1 pixels without a filter, 8.2 with the
# one-euro filter, 12.7 with the Gaussian, which makes swings of the angle smaller by a sixth.
@pytest.mark.parametrize(("steady", "most"), [(OneEuroFilter(), 12), (GaussianFilter(), 16)], ids=["live", "file"])
def test_the_crop_follows_a_head_that_moves(steady: PlacementFilter, most: float) -> None:
    swing = np.sin(np.arange(120) / RATE * 2 * np.pi)
    raw, truth = (placements(150 * swing, 0.25 * swing, noise) for noise in (1.0, 0.0))
    assert error(filtered(steady, raw), truth) < most


def test_a_gaussian_does_not_lag_behind_a_face_that_passes() -> None:
    truth = placements(np.arange(60.0) * 8, noise=0)
    smooth = filtered(GaussianFilter(), truth)
    np.testing.assert_allclose(smooth[12:-12], truth[12:-12], atol=1e-6)


def test_an_angle_does_not_go_the_long_way_round() -> None:
    turning = np.pi + np.linspace(-0.2, 0.2, 40)
    for steady in (OneEuroFilter(), GaussianFilter()):
        smooth = filtered(steady, [placement_from_similarity(np.array([0, 0, 5, angle])) for angle in turning])
        sides = np.hypot(*np.moveaxis(np.array(smooth)[:, :, 0], 1, 0))
        np.testing.assert_allclose(sides, np.exp(5))
        assert all(crop[0, 0] < -0.9 * np.exp(5) for crop in smooth)


def test_a_face_that_is_missed_for_a_moment_moves_straight_on() -> None:
    truth = placements(np.arange(60.0) * 8, noise=0)
    gaps: list[Placement | None] = [None if 28 <= i < 33 else crop for i, crop in enumerate(truth)]
    np.testing.assert_allclose(filtered(GaussianFilter(), gaps)[12:-12], truth[12:-12], atol=1e-6)


@pytest.mark.parametrize("steady", [OneEuroFilter(), GaussianFilter()], ids=["live", "file"])
def test_a_lost_face_keeps_its_place(steady: PlacementFilter) -> None:
    crops: list[Placement | None] = [*placements(np.zeros(30)), *[None] * 40]
    smooth = filtered(steady, crops)
    assert jitter(smooth[-25:]) == pytest.approx(0, abs=1e-9)


def test_tracks_do_not_touch_each_other() -> None:
    first, second = placements(np.zeros(30), seed=1), placements(np.full(30, 400.0), seed=2)
    together, alone = GaussianFilter(), GaussianFilter()
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        together.push((Track(0, a), Track(1, b)) if i >= 10 else (Track(0, a),), i / RATE)
        alone.push((Track(0, a),), i / RATE)
    ours, theirs = together.flush(), alone.flush()
    assert [len(tracks) for tracks in ours] == [2] * 9
    np.testing.assert_array_equal([t[0].placement for t in ours], [t[0].placement for t in theirs])


def test_a_gaussian_gives_every_frame_back_nine_frames_later() -> None:
    steady = GaussianFilter()
    frames = [(Track(i, crop),) for i, crop in enumerate(placements(np.zeros(25)))]
    given = [steady.push(tracks, i / RATE) for i, tracks in enumerate(frames)]
    assert given[:9] == [None] * 9
    back = [tracks[0].id for tracks in (*given[9:], *steady.flush()) if tracks]
    assert back == [*range(25)]
    assert steady.flush() == []


def test_a_frame_rate_changes_little_of_the_live_filter() -> None:
    still = np.zeros(240)
    slow, fast = (filtered(OneEuroFilter(), placements(still), rate) for rate in (15, 60))
    assert np.std(corners(slow)[60:], 0).mean() < np.std(corners(placements(still)), 0).mean()
    assert jitter(fast) < jitter(slow)


def test_codes_are_averaged_by_groups_of_rows() -> None:
    codes = CodeFilter(RowWeights(1.0, 0.5, 0.25))
    codes.push([3], np.zeros((1, 10, 2), np.float32), 0.0)
    after = codes.push([3], np.ones((1, 10, 2), np.float32), 1 / 30)
    np.testing.assert_allclose(after[0, :, 0], [1] * 3 + [0.5] * 4 + [0.25] * 3, rtol=1e-6)
    assert after.dtype == np.float32


def test_codes_follow_time_and_not_the_number_of_frames() -> None:
    def settled(rate: int) -> NDArray[np.float32]:
        codes = CodeFilter()
        codes.push([0], np.zeros((1, 14, 4), np.float32), 0.0)
        for i in range(1, rate + 1):
            w = codes.push([0], np.ones((1, 14, 4), np.float32), i / rate)
        return w

    np.testing.assert_allclose(settled(15), settled(60), atol=1e-5)


def test_the_shimmer_of_fine_rows_is_taken_away() -> None:
    rng = np.random.default_rng(0)
    noisy = rng.normal(0, 1, (120, 1, 14, 8)).astype(np.float32)
    codes = CodeFilter()
    smooth = np.array([codes.push([0], w, i / 30) for i, w in enumerate(noisy)])
    step, raw = (np.abs(np.diff(w[20:, 0], axis=0)).mean((0, 2)) for w in (smooth, noisy))
    assert (step[7:] < raw[7:] / 8).all()  # measured: 0.07
    np.testing.assert_allclose(step[:3], raw[:3], rtol=1e-4)


def test_a_new_track_begins_with_its_own_code() -> None:
    codes = CodeFilter()
    codes.push([0], np.zeros((1, 14, 4), np.float32), 0.0)
    one = np.ones((1, 14, 4), np.float32)
    np.testing.assert_array_equal(codes.push([1], one, 0.1), one)
    np.testing.assert_array_equal(codes.push([0], one, 0.2), one)  # the earlier code was forgotten


def test_rows_that_are_not_given_stay_as_they_were_given_last() -> None:
    codes = CodeFilter(RowWeights(1.0, 1.0, 0.5))
    codes.push([0], np.zeros((1, 14, 4), np.float32), 0.0)
    codes.push([0], np.ones((1, 14, 4), np.float32), 1 / 30)
    after = codes.push([0], np.full((1, 7, 4), 2, np.float32), 2 / 30)
    # The fine rows were at 0.5 and continue towards the 1 that was given last.
    np.testing.assert_allclose(after[0, :, 0], [2] * 7 + [0.75] * 7, rtol=1e-6)


def test_whole_codes_are_due_for_new_faces_and_twice_a_second() -> None:
    codes = FullCodeSchedule()
    asked = [((0,), 0.0), ((0,), 0.1), ((0, 1), 0.2), ((1,), 0.3), ((0, 1), 0.4), ((), 0.5), ((0, 1), 0.8), ((1,), 0.9)]
    assert [codes.due(ids, pts) for ids, pts in asked] == [True, False, True, False, True, False, False, True]
    assert codes.due((1,), 0.0), "time that runs backwards begins anew"
    codes.reset()
    assert codes.due((1,), 0.1)


def test_no_code_at_all_is_well() -> None:
    assert CodeFilter().push([], np.zeros((0, 14, 4), np.float32), 0.0).shape == (0, 14, 4)


def moving_clip(level: int, frames: int = 12) -> list[NDArray[np.uint8]]:
    """A head that sways and leans towards the camera, in flickering light."""
    pictures = []
    for i in range(frames):
        face = face_at(160 + 40 * np.sin(i), 120 + 10 * np.cos(i), 90 + 15 * np.sin(0.7 * i), 0.2 * np.sin(i))
        pictures.append(np.clip(drawn(face, room(level)) * (1 + 0.03 * np.sin(2.0 * i)), 0, 255).astype(np.uint8))
    return pictures


def test_motion_and_flicker_are_no_cuts_but_cuts_are() -> None:
    clips = [moving_clip(level) for level in (60, 120, 180)]
    clips.append([np.ascontiguousarray(picture[:, ::-1]) for picture in clips[-1]])
    detector = CutDetector()
    cuts = [detector.is_cut(picture) for clip in clips for picture in clip]
    assert [i for i, cut in enumerate(cuts) if cut] == [12, 24, 36]


def test_a_detector_that_was_reset_sees_no_cut() -> None:
    detector = CutDetector()
    detector.is_cut(room(60))
    detector.reset()
    assert not detector.is_cut(room(200))
    assert detector.is_cut(room(60))


def test_an_infinite_threshold_sees_no_cuts() -> None:
    detector = CutDetector(np.inf)
    detector.is_cut(np.zeros((5, 7, 3), np.uint8))
    assert not detector.is_cut(np.full((5, 7, 3), 255, np.uint8))


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(RequestError, match=r"row weights: got 1.0, 0.0, 0.1, expected numbers above 0 and at most 1"):
        RowWeights(middle=0.0)
    with pytest.raises(
        RequestError, match=r"smoothing: got standard deviations of 0 and 3.0 frames, expected positive"
    ):
        GaussianFilter(sigma_centre=0)


def test_a_face_helper_has_the_place_that_it_says() -> None:
    crop = placement_of_face(face_from_points(face_at(200, 150, 100, 0.3).points).points)
    np.testing.assert_allclose(similarity_from_placement(crop)[[0, 1, 3]], [200, 150, 0.3], atol=6)
