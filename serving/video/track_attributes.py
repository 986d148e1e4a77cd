"""The attributes that the face of a track shows, read from its first frames, so that an edit keeps them steadily."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.contract.arrays import AnyArray

READINGS = 5
"""Frames of a track from which its attributes are read; after them a face is edited alike in every frame."""

_MOST_TRACKS = 256


class TrackAttributes:
    """Averages the attributes over the first frames of each track.

    One thread may call ``due`` while another calls ``push``, each for the frames in their order.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all tracks."""
        self._asked: dict[int, int] = {}
        self._readings: dict[int, list[AnyArray]] = {}

    def due(self, ids: Sequence[int]) -> bool:
        """Return whether the attributes of a frame with the tracks ``ids`` are to be read."""
        counts = {track: self._asked.get(track, 0) for track in ids}
        if all(count >= READINGS for count in counts.values()):
            return False
        self._asked |= {track: count + 1 for track, count in counts.items()}
        _forget_oldest(self._asked)
        return True

    def push(self, ids: Sequence[int], shown: AnyArray | None) -> AnyArray | None:
        """Return the mean attributes [N, A] of the tracks ``ids``; ``shown`` [N, A] if they were read in this frame.

        None if they were never read.
        """
        if shown is not None:
            for track, attributes in zip(ids, shown, strict=True):
                readings = self._readings.setdefault(track, [])
                if len(readings) < READINGS:
                    readings.append(attributes)
            _forget_oldest(self._readings)
        means = [np.mean(self._readings[track], axis=0) for track in ids if track in self._readings]
        return np.stack(means).astype(np.float32) if len(means) == len(ids) else None


def _forget_oldest(tracks: dict[int, int] | dict[int, list[AnyArray]]) -> None:
    while len(tracks) > _MOST_TRACKS:
        del tracks[next(iter(tracks))]
