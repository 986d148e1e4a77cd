from __future__ import annotations

import numpy as np
import pytest
from toon_fakes import face_at

from engines.contract.errors import RequestError
from serving.faces.alignment import square_of_any_size
from serving.faces.pose import Facing
from serving.video.tracking import Sighting, Tracker, Tracking, placement_distance

FRAME = 1 / 30


def at(x: float, y: float = 100, side: float = 100, facing: Facing = "towards") -> Sighting:
    return Sighting(square_of_any_size(face_at(x, y, side).points), facing)


def test_two_faces_keep_their_numbers_in_whatever_order_they_are_found() -> None:
    tracker = Tracker()
    left, right = tracker.update([at(100), at(300)], 0.0)
    for i in range(1, 20):
        found = [at(100 + 3 * i), at(300 - 3 * i)]
        tracks = tracker.update(found if i % 2 else found[::-1], i * FRAME)
        assert [track.id for track in tracks] == [left.id, right.id]
        np.testing.assert_array_equal(tracks[0].placement, found[0].placement)


def test_faces_that_cross_keep_their_numbers() -> None:
    tracker = Tracker()
    for i in range(41):
        left, right = at(100 + 5 * i, 100, 100), at(300 - 5 * i, 130, 150)
        tracks = {track.id: track for track in tracker.update([right, left], i * FRAME)}
    assert len(tracks) == 2
    np.testing.assert_array_equal(tracks[1].placement, left.placement)


def test_a_lost_face_is_held_then_fades_and_is_gone() -> None:
    tracker = Tracker(Tracking(hold=0.2, fade=0.2))
    (track,) = tracker.update([at(100)], 0.0)
    held = [tracker.update([], 0.1 * i) for i in range(1, 6)]
    assert [[round(track.opacity, 6) for track in tracks] for tracks in held] == [[1], [1], [0.5], [], []]
    assert not held[0][0].seen
    np.testing.assert_array_equal(held[2][0].placement, track.placement)


def test_a_face_that_returns_while_it_fades_comes_back_as_softly() -> None:
    tracker = Tracker(Tracking(hold=0.0, fade=0.4))
    (first,) = tracker.update([at(100)], 0.0)
    tracker.update([], 0.1)
    tracker.update([], 0.2)
    back = [tracker.update([at(105)], 0.2 + 0.1 * i)[0] for i in (1, 2, 3)]
    assert [track.id for track in back] == [first.id] * 3
    assert [round(track.opacity, 6) for track in back] == [0.75, 1, 1]


def test_without_fading_a_lost_face_is_gone_at_once() -> None:
    tracker = Tracker(Tracking(hold=0.0, fade=0.0))
    tracker.update([at(100)], 0.0)
    assert tracker.update([], FRAME) == ()


def test_a_face_elsewhere_or_of_another_size_is_another_one() -> None:
    tracker = Tracker(Tracking(hold=0.0, fade=0.0))
    numbers = [tracker.update([found], i * FRAME)[0].id for i, found in enumerate([at(100), at(250), at(250, 100, 50)])]
    assert numbers == [0, 1, 2]


def test_numbers_are_not_given_again_after_a_reset() -> None:
    tracker = Tracker()
    (before,) = tracker.update([at(100)], 0.0)
    tracker.reset()
    (after,) = tracker.update([at(100)], FRAME)
    assert after.id != before.id
    assert after.opacity == 1


def test_a_face_that_is_found_twice_is_one() -> None:
    tracker = Tracker()
    for i in range(3):
        tracks = tracker.update([at(100), at(104), at(300)], i * FRAME)
        assert len(tracks) == 2


def test_faces_that_are_followed_come_before_larger_ones() -> None:
    tracker = Tracker(Tracking(max_faces=1))
    (followed,) = tracker.update([at(100)], 0.0)
    (track,) = tracker.update([at(300, 100, 200), at(100)], FRAME)
    assert track.id == followed.id


def test_of_new_faces_the_first_are_taken() -> None:
    tracks = Tracker(Tracking(max_faces=2)).update([at(500, 100, 200), at(300, 100, 150), at(100)], 0.0)
    assert [round(np.hypot(*track.placement[:, 0]) / 50) for track in tracks] == [4, 3]


def test_distance_is_in_sides_of_the_larger_crop() -> None:
    one, other = at(100).placement, at(150).placement
    side = np.hypot(*one[:, 0])
    assert placement_distance(one, other) == pytest.approx(50 / side)
    assert placement_distance(one, one) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"max_faces": 0},
        {"hold": -1.0},
        {"fade": -0.1},
        {"smallest": -1.0},
        *({name: float("nan")} for name in ("hold", "fade", "smallest")),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(
        RequestError, match=r"tracking: got .* expected 1 face or more, and times and sizes of 0 or more"
    ):
        Tracking(**options)


def test_a_face_that_turns_away_fades_at_once_where_it_is() -> None:
    tracker = Tracker(Tracking(hold=0.5, fade=0.3))
    tracker.update([at(100)], 0.0)
    tracks = [tracker.update([at(100 + 5 * i, facing="away")], 0.1 * i)[0] for i in (1, 2, 3, 4)]
    assert [track.opacity for track in tracks] == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=1e-9)
    assert [track.seen for track in tracks] == [True] * 4
    np.testing.assert_array_equal(tracks[-1].placement, at(120).placement)


def test_a_face_between_towards_and_away_stays_as_it_was() -> None:
    tracker = Tracker(Tracking(fade=0.1))
    facings: list[Facing] = ["towards", "between", "away", "between", "between", "towards"]
    opacities = [tracker.update([at(100, facing=facing)], 0.1 * i)[0].opacity for i, facing in enumerate(facings)]
    assert opacities == pytest.approx([1, 1, 0, 0, 0, 1], abs=1e-9)


def test_a_face_that_is_lost_while_it_is_turned_away_is_not_held() -> None:
    tracker = Tracker(Tracking(hold=0.5, fade=0.3))
    tracker.update([at(100)], 0.0)
    tracker.update([at(100, facing="away")], 0.1)
    (fading,) = tracker.update([], 0.2)
    assert fading.opacity == pytest.approx(1 / 3)
    assert tracker.update([], 0.3) == ()


def test_a_face_that_comes_in_turned_away_fades_in_when_it_turns() -> None:
    tracker = Tracker(Tracking(fade=0.2))
    assert tracker.update([at(100, facing="away")], 0.0)[0].opacity == 0
    assert tracker.update([at(100)], 0.1)[0].opacity == pytest.approx(0.5)


def test_an_outline_stays_with_its_track_while_the_face_is_held() -> None:
    tracker, outline = Tracker(), np.array([(0.3, 0.3), (0.7, 0.3), (0.5, 0.9)])
    (seen,) = tracker.update([Sighting(at(100).placement, outline=outline)], 0.0)
    (held,) = tracker.update([], 0.1)
    assert seen.outline is held.outline is outline
    assert tracker.update([at(100)], 0.2)[0].outline is None


def test_small_faces_are_left_alone_and_counted() -> None:
    tracker = Tracker(Tracking(smallest=50))
    tracks = tracker.update([at(100), at(250, 100, 49), at(350, 100, 10), at(400, 100, 49, "away")], 0.0)
    assert [track.id for track in tracks] == [0]
    assert tracker.small_faces == 2


def test_faces_that_turn_away_are_no_small_ones_while_they_shrink() -> None:
    tracker = Tracker(Tracking(smallest=50))
    counts = []
    for i, side in enumerate([55, 49, 47, 45, 43, 40]):
        tracker.update([at(100, 100, side, "away" if i else "towards")], i * FRAME)
        counts.append(tracker.small_faces)
    assert counts == [0] * 6


def test_small_faces_take_no_place_from_others() -> None:
    tracker = Tracker(Tracking(max_faces=2, smallest=50))
    crowd = [at(40 * number, 300, 30) for number in range(20)]
    tracker.update(crowd, 0.0)
    assert [track.opacity for track in tracker.update([at(100), at(300), *crowd], FRAME)] == [1, 1]
    assert tracker.small_faces == 20


def test_a_face_that_becomes_small_fades_out_and_comes_back_at_the_whole_size() -> None:
    tracker = Tracker(Tracking(fade=2 * FRAME, smallest=50))
    sides = [55, 47, 46, 44, 43, 47, 51, 51]
    shown = [tracker.update([at(100, 100, side)], i * FRAME) for i, side in enumerate(sides)]
    assert [round(tracks[0].opacity, 6) if tracks else None for tracks in shown] == [1, 1, 1, 0.5, None, None, 1, 1]


def test_only_small_faces_below_the_least_that_can_be_encoded_are_left_alone_with_0() -> None:
    tracker = Tracker(Tracking(smallest=0))
    assert len(tracker.update([at(100, 100, 25), at(300, 100, 20)], 0.0)) == 1
    assert tracker.small_faces == 1
