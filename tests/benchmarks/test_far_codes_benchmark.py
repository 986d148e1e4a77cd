from __future__ import annotations

import numpy as np

from benchmarks.far_codes import RESULTS, FarCodeRow, judged, table, variants
from benchmarks.generated import FACES_README, with_section
from benchmarks.records import read_records
from serving.code_spread import CodeSpread


def test_a_face_is_darkened_reduced_and_turned() -> None:
    face = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    made = dict(variants(face))
    assert {picture.shape for picture in made.values()} == {(256, 256, 3)}
    assert {picture.dtype.name for picture in made.values()} == {"uint8"}
    means = [made[f"the same with {light} of their light"].mean() for light in ("a third", "an eighth")]
    np.testing.assert_allclose(means, [face.mean() / 3, face.mean() / 8], atol=0.6)
    np.testing.assert_array_equal(made["the same, upside down"], face[::-1])


def test_a_code_is_judged_by_the_guard() -> None:
    spread = CodeSpread(np.zeros((2, 4), np.float32), np.ones(2, np.float32))
    assert judged(spread, np.full((1, 2, 4), 0.25, np.float32)) == (0.5, True)
    assert judged(spread, np.full((1, 2, 4), 1, np.float32)) == (2.0, False)


def test_the_table_counts_each_kind_of_the_last_run() -> None:
    rows = [FarCodeRow("old", "a", "faces", "0", 9.0, False)]
    rows += [
        FarCodeRow("new", "b", "faces", str(i), distance, distance <= 1) for i, distance in enumerate((0.5, 0.75, 2))
    ]
    assert "| faces | 1 of 3 | 2 | 0.50, 0.75, 2.00 |" in table(rows)


def test_the_page_shows_the_last_run() -> None:
    page = FACES_README.read_text()
    assert page == with_section(page, "benchmarks.far_codes", table(read_records(RESULTS, FarCodeRow)))
