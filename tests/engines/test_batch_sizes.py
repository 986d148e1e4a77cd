"""Batches of any size are split into the few sizes that an engine is prepared for."""

from __future__ import annotations

import pytest

from engines.batch_sizes import batch_slices, split_into_prepared_sizes


@pytest.mark.parametrize(
    ("batch", "prepared", "sizes"),
    [
        (1, (1, 4, 8), [1]),
        (2, (1, 4, 8), [1, 1]),
        (3, (1, 4, 8), [4]),
        (5, (1, 4, 8), [4, 1]),
        (6, (8, 4, 1), [8]),
        (20, (1, 4, 8), [8, 8, 4]),
        (2, (4, 8), [4]),
        (5, (4,), [4, 4]),
    ],
)
def test_a_batch_is_split_into_the_prepared_sizes(batch: int, prepared: tuple[int, ...], sizes: list[int]) -> None:
    assert list(split_into_prepared_sizes(batch, prepared)) == sizes


def test_slices_cover_a_batch_in_order() -> None:
    assert list(batch_slices(11, (1, 4, 8))) == [(8, slice(0, 8)), (4, slice(8, 11))]
