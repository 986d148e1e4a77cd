"""Clips of a character in a room."""

from __future__ import annotations

import numpy as np
from drawn_people import difference

from export.demo_face import demo_code
from export.demo_models.clips import room, talking_head


def test_a_person_in_a_clip_blinks_speaks_and_turns_before_a_still_room() -> None:
    frames = list(talking_head(demo_code(), 4, rate=8, size=(320, 240)))
    assert [frame.seconds for frame in frames] == [index / 8 for index in range(32)]
    mouths = [np.linalg.norm(frame.points[4] - frame.points[3]) for frame in frames]
    noses = [frame.points[2, 0] - frame.points[:2, 0].mean() for frame in frames]
    assert max(noses) - min(noses) > 1
    assert min(mouths) > 5
    corner = np.s_[:40, :40]
    assert all(difference(frame.picture[corner], room(320, 240)[corner]) == 0 for frame in frames)


def test_without_motion_only_eyes_and_mouth_of_a_clip_move() -> None:
    frames = list(talking_head(demo_code(), 2, rate=10, size=(320, 240), motion=0))
    points = np.stack([frame.points for frame in frames])
    assert np.ptp(points, axis=0).max() < 1e-9
    assert len({frame.picture.tobytes() for frame in frames}) > 5
