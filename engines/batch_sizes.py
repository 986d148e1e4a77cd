"""Splitting a batch of any size into the few sizes that a GPU engine is prepared for."""

from __future__ import annotations

from collections.abc import Collection, Iterator

BATCH_SIZES = (1, 4, 8)
"""The batch sizes that are prepared by default."""

_MIN_FILL = 0.75
"""The least filled share of a padded batch; below it, padding costs more than running several smaller batches."""


def split_into_prepared_sizes(batch: int, prepared: Collection[int]) -> Iterator[int]:
    """Yield the prepared sizes that together hold ``batch`` samples; the last one may exceed the remainder."""
    while batch > 0:
        padded = min((size for size in prepared if size >= batch), default=None)
        if padded is None or batch < _MIN_FILL * padded:
            padded = max((size for size in prepared if size <= batch), default=padded)
        assert padded is not None
        yield padded
        batch -= padded


def batch_slices(batch: int, prepared: Collection[int]) -> Iterator[tuple[int, slice]]:
    """Yield the same sizes, each with the slice of the batch that it holds."""
    first = 0
    for size in split_into_prepared_sizes(batch, prepared):
        yield size, slice(first, min(first + size, batch))
        first += size
