"""Photographs of many faces."""

from __future__ import annotations

import numpy as np
from toon_fakes import Pixels, face_at

from serving.faces.photograph import toonified_photograph


def test_hundreds_of_faces_are_toonified_a_few_at_a_time_each_in_its_place() -> None:
    photo = np.zeros((400, 8000, 3), np.uint8)
    faces = tuple(face_at(200 + 400 * number, 200, 150) for number in range(20))
    batches: list[int] = []

    def toonify(crops: Pixels) -> Pixels:
        batches.append(len(crops))
        return np.full_like(crops, 200)

    toon = toonified_photograph(photo, faces, toonify, every_face=True)
    assert batches == [8, 8, 4]
    assert [int(toon[200, 200 + 400 * number, 0]) for number in range(20)] == [200] * 20
    assert not photo.any()
