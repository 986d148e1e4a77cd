"""What makes a toonified video hold still: steady crops, steady codes, and an end to both at a cut.

A crop is smoothed as the similarity that it is, (centre x, centre y, log of the side, angle), and not by its landmarks:
their noise moves the corners of a crop of 600 pixels by 5 pixels a frame, its centre by hardly one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, exp, inf, pi, sin
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Codes
from engines.contract.errors import RequestError
from serving.faces.alignment import Photo, Placement, side_of
from serving.video.tracking import Track

Similarity = NDArray[np.float64]
Tracks = tuple[Track, ...]


def similarity_from_placement(placement: Placement) -> Similarity:
    """(centre x, centre y, log of the side, angle) of a placement, in pixels and radians."""
    x, y = placement @ (0.5, 0.5, 1)
    return np.array([x, y, np.log(side_of(placement)), np.arctan2(placement[1, 0], placement[0, 0])])


def placement_from_similarity(similarity: Similarity) -> Placement:
    """The inverse of ``similarity_from_placement``."""
    x, y, log_side, angle = similarity.tolist()
    u = np.array([cos(angle), sin(angle)]) * exp(log_side)
    v = np.array([-u[1], u[0]])
    return np.column_stack([u, v, [x, y] - (u + v) / 2])


class PlacementFilter(Protocol):
    """Steadies the placements of tracks, frame after frame; one serves one stream at a time."""

    def push(self, tracks: Tracks, pts: float) -> Tracks | None:
        """The tracks of the next frame at ``pts`` seconds -> those of the oldest frame that is not given back yet.

        None while frames after that one are needed.
        """
        ...

    def flush(self) -> list[Tracks]:
        """Those of all frames that are not given back yet; the next frame begins a new stream."""
        ...


class NoFilter:
    """Leaves placements as they were found."""

    def push(self, tracks: Tracks, pts: float) -> Tracks:
        return tracks

    def flush(self) -> list[Tracks]:
        return []


class OneEuroFilter:
    """For live streams: smooths what stands still, follows what moves, and delays nothing.

    The one-euro filter (Casiez et al., CHI 2012) over each number of the similarity, the centre's speed in sides of the
    crop per second. A face that is not seen keeps its place.

    Args:
        cutoff: in Hz, of what stands still; lower is steadier.
        beta: by how much it rises with speed; higher follows faster.
        speed_cutoff: in Hz, of the speed itself.
    """

    def __init__(self, cutoff: float = 0.5, beta: float = 20.0, speed_cutoff: float = 1.0) -> None:
        self._cutoff, self._beta, self._speed_cutoff = cutoff, beta, speed_cutoff
        self._states: dict[int, _Motion] = {}

    def push(self, tracks: Tracks, pts: float) -> Tracks:
        self._states = {track.id: self._follow(track, pts) for track in tracks}
        return tuple(
            replace(track, placement=placement_from_similarity(self._states[track.id].value)) for track in tracks
        )

    def flush(self) -> list[Tracks]:
        self._states = {}
        return []

    def _follow(self, track: Track, pts: float) -> _Motion:
        value, before = similarity_from_placement(track.placement), self._states.get(track.id)
        if before is None:
            return _Motion(value, np.zeros(4), pts)
        if not track.seen or pts <= before.pts:
            return before
        elapsed = pts - before.pts
        change = _with_wrapped_angle(value - before.value)
        speed = change / elapsed / _speed_units(before.value)
        speed = before.speed + _smoothing_factor(self._speed_cutoff, elapsed) * (speed - before.speed)
        weight = _smoothing_factor(self._cutoff + self._beta * np.abs(speed), elapsed)
        return _Motion(before.value + weight * change, speed, pts)


@dataclass(frozen=True, eq=False)
class _Motion:
    value: Similarity
    speed: NDArray[np.float64]
    pts: float


class GaussianFilter:
    """For files: smooths over the frames before and after, so that nothing lags, and delays by three ``sigma_axes``.

    Where a face was missed between two frames that show it, it moves straight from one place to the other.

    Args:
        sigma_centre: standard deviation for the centre, in frames.
        sigma_axes: for side and angle, in which the noise of landmarks lies.

    Raises:
        RequestError: a standard deviation that is not positive.
    """

    def __init__(self, sigma_centre: float = 1.0, sigma_axes: float = 3.0) -> None:
        if min(sigma_centre, sigma_axes) <= 0:
            raise RequestError(
                "smoothing",
                got=f"standard deviations of {sigma_centre} and {sigma_axes} frames",
                expected="positive ones",
                remedy="use smoothing 'off' for none",
            )
        self._sigmas = np.array([sigma_centre, sigma_centre, sigma_axes, sigma_axes])
        self._radius = int(np.ceil(3 * max(sigma_centre, sigma_axes)))
        self._window: deque[Tracks] = deque()
        self._emitted = 0  # how many frames of the window have been given back

    def push(self, tracks: Tracks, pts: float) -> Tracks | None:
        self._window.append(tracks)
        return self._next() if len(self._window) > self._emitted + self._radius else None

    def flush(self) -> list[Tracks]:
        rest = [self._next() for _ in range(self._emitted, len(self._window))]
        self._window.clear()
        self._emitted = 0
        return rest

    def _next(self) -> Tracks:
        smooth = tuple(replace(track, placement=self._smoothed(track)) for track in self._window[self._emitted])
        self._emitted += 1
        if self._emitted > self._radius:
            self._window.popleft()
            self._emitted -= 1
        return smooth

    def _smoothed(self, track: Track) -> Placement:
        appearances = [(i, other) for i, frame in enumerate(self._window) for other in frame if other.id == track.id]
        seen = [(i, similarity_from_placement(other.placement)) for i, other in appearances if other.seen]
        if not seen:
            return track.placement
        frames = np.array([i for i, _ in appearances])
        values = np.array([value for _, value in seen])
        values[:, 3] = np.unwrap(values[:, 3])
        filled = np.stack([np.interp(frames, [i for i, _ in seen], column) for column in values.T], axis=1)
        weights = np.exp(-0.5 * ((frames - self._emitted)[:, None] / self._sigmas) ** 2)
        return placement_from_similarity((weights * filled).sum(0) / weights.sum(0))


@dataclass(frozen=True)
class RowWeights:
    """How much of a frame's own code enters the smoothed one, for frames at 30 a second: 1 all, towards 0 ever less.

    ``coarse``: rows 0-2, pose. ``middle``: rows 3-6, expression. ``fine``: the rest, colours and texture, which a face
    keeps.

    Raises:
        RequestError: a weight outside of 0..1, or 0.
    """

    coarse: float = 1.0
    middle: float = 0.8
    fine: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < weight <= 1 for weight in (self.coarse, self.middle, self.fine)):
            raise RequestError(
                "row weights",
                got=f"{self.coarse}, {self.middle}, {self.fine}",
                expected="numbers above 0, up to 1",
                remedy="use 1 for no smoothing",
            )

    def by_row(self, rows: int, elapsed: float) -> NDArray[np.float32]:
        """The weights [rows, 1] after ``elapsed`` seconds."""
        weights = np.array([self.coarse] * 3 + [self.middle] * 4 + [self.fine] * max(rows - 7, 0))[:rows]
        return (1 - (1 - weights) ** (30 * elapsed))[:, None].astype(np.float32)


ROW_WEIGHTS = RowWeights()


class CodeFilter:
    """An exponential moving average of each face's code."""

    def __init__(self, weights: RowWeights = ROW_WEIGHTS) -> None:
        self._weights = weights
        self.reset()

    def reset(self) -> None:
        """Forget all codes."""
        self._codes: dict[int, _CodeState] = {}

    def push(self, ids: Sequence[int], w: Codes, pts: float) -> Codes:
        """Codes float32 [N, L, D] of the tracks ``ids`` at ``pts`` seconds -> the smoothed ones, [N, L, D].

        Of tracks that the last frame had, the first rows may be given alone: the others then stay as they were given.
        """
        self._codes = {track: self._average(track, code, pts) for track, code in zip(ids, w, strict=True)}
        return np.stack([code.smooth for code in self._codes.values()]) if self._codes else w

    def _average(self, track: int, code: Codes, pts: float) -> _CodeState:
        before = self._codes.get(track, _CodeState(code, code, pts))
        given = np.concatenate([code, before.given[len(code) :]])
        weights = self._weights.by_row(len(given), max(pts - before.pts, 0))
        return _CodeState(before.smooth + weights * (given - before.smooth), given, pts)


@dataclass(frozen=True, eq=False)
class _CodeState:
    """Of one face at ``pts`` seconds, as it is smoothed and as its rows were given last; float32 [L, D]."""

    smooth: Codes
    given: Codes
    pts: float


class FullCodeSchedule:
    """Says which frames need all rows of their codes: those with a new face, and one every so many seconds.

    Args:
        interval: in seconds. ``CodeFilter`` takes a third of a second to follow a change of the rows held meanwhile.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self.reset()

    def reset(self) -> None:
        """Forget all faces."""
        self._ids: set[int] = set()
        self._last = -inf

    def due(self, ids: Sequence[int], pts: float) -> bool:
        """Whether the next frame, of the tracks ``ids`` at ``pts`` seconds, needs them; without faces none does."""
        if not ids:
            return False
        known, self._ids = self._ids, {*ids}
        if self._ids <= known and 0 <= pts - self._last < self._interval:
            return False
        self._last = pts
        return True


CUT_THRESHOLD = 14.0
"""Drawn faces in strong motion under flickering light gave 11 at most; cuts within one room 16 and more, to another
room 44 and more."""


class CutDetector:
    """Finds cuts by how far the levels of the picture's four quarters have moved.

    Of each quarter and channel the sorted levels are compared, whose mean difference is the least that pixels have to
    change (the earth mover's distance): a face that moves changes little of it, another picture much. A cut that is
    found where none is costs a moment of smoothing, no more.

    Args:
        threshold: in levels of 255.
    """

    def __init__(self, threshold: float = CUT_THRESHOLD) -> None:
        self._threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._levels: NDArray[np.int16] | None = None

    def is_cut(self, pixels: Photo) -> bool:
        """Whether this frame, uint8 [H, W, 3], begins another scene than the last one; the first frame does not."""
        before, self._levels = self._levels, _sorted_levels(pixels)
        return before is not None and float(np.abs(self._levels - before).mean()) > self._threshold


def _sorted_levels(pixels: Photo) -> NDArray[np.int16]:
    # Every so many pixels first: to average all of a large frame would take as long as to find its faces.
    sampled = cv2.resize(pixels, (256, 192), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sampled, (64, 48), interpolation=cv2.INTER_AREA)
    quarters = small.reshape(2, 24, 2, 32, 3).swapaxes(1, 2).reshape(4, 24 * 32, 3)
    return np.sort(quarters, axis=1).astype(np.int16)


def _smoothing_factor(cutoff: float | NDArray[np.float64], elapsed: float) -> float | NDArray[np.float64]:
    """Of the new value, in an exponential average with a cut-off in Hz."""
    ratio = 2 * pi * cutoff * elapsed
    return ratio / (ratio + 1)


def _speed_units(similarity: Similarity) -> NDArray[np.float64]:
    side = exp(similarity[2])
    return np.array([side, side, 1, 1])


def _with_wrapped_angle(change: Similarity) -> Similarity:
    """The same change, its angle within half a turn."""
    change[3] = (change[3] + pi) % (2 * pi) - pi
    return change
