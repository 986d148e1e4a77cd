"""Faces whose codes lie too far out, along their tracks: they fade out and in again, so that none flickers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class FarFaces:
    """The opacity of each face of a stream; one thread pushes the frames in their order.

    Args:
        fade: seconds over which a face disappears, and comes back.
    """

    def __init__(self, fade: float) -> None:
        self._fade = fade
        self.reset()

    def reset(self) -> None:
        """Forget all faces."""
        self._opacities: dict[int, float] = {}
        self._pts = 0.0

    def push(self, ids: Sequence[int], far: NDArray[np.bool_], pts: float) -> list[float]:
        """Return the opacities, 0..1, of the tracks ``ids`` at ``pts`` seconds; ``far`` [N] tells whose code is far."""
        elapsed, self._pts = max(pts - self._pts, 0.0), pts
        step = elapsed / self._fade if self._fade else 1.0
        self._opacities = {track: self._next(track, bool(away), step) for track, away in zip(ids, far, strict=True)}
        return [*self._opacities.values()]

    def _next(self, track: int, away: bool, step: float) -> float:
        if track not in self._opacities:
            return float(not away)
        return min(max(self._opacities[track] + (-step if away else step), 0.0), 1.0)
