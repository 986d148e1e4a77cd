"""How a batch of any size is made up of the few sizes that an engine on a GPU is prepared for."""

from __future__ import annotations

from collections.abc import Collection, Iterator

BATCH_SIZES = (1, 4, 8)
"""The sizes that are prepared unless others are asked for."""

_MIN_FILL = 0.75
"""How full a batch must be to be padded; an emptier one costs more than several smaller ones."""


def split_into_prepared_sizes(batch: int, prepared: Collection[int]) -> Iterator[int]:
    """The prepared sizes that take a batch, one after the other; the last one may exceed what is left."""
    while batch > 0:
        padded = min((size for size in prepared if size >= batch), default=None)
        if padded is None or batch < _MIN_FILL * padded:
            padded = max((size for size in prepared if size <= batch), default=padded)
        assert padded is not None
        yield padded
        batch -= padded


def batch_slices(batch: int, prepared: Collection[int]) -> Iterator[tuple[int, slice]]:
    """The same sizes with the samples of the batch that each takes."""
    first = 0
    for size in split_into_prepared_sizes(batch, prepared):
        yield size, slice(first, min(first + size, batch))
        first += size
