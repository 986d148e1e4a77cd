"""Temporal stability of toonified videos: smoothing of placements and codes, and detection of cuts, which end it.

A placement is smoothed as a similarity, (centre x, centre y, log of the side, angle), instead of smoothing landmarks:
their noise moves the corners of a crop of 600 pixels by 5 pixels per frame, but its centre by barely one.
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
    """Return (centre x, centre y, log of the side, angle) of a placement, in pixels and radians."""
    x, y = placement @ (0.5, 0.5, 1)
    return np.array([x, y, np.log(side_of(placement)), np.arctan2(placement[1, 0], placement[0, 0])])


def placement_from_similarity(similarity: Similarity) -> Placement:
    """The inverse of ``similarity_from_placement``."""
    x, y, log_side, angle = similarity.tolist()
    u = np.array([cos(angle), sin(angle)]) * exp(log_side)
    v = np.array([-u[1], u[0]])
    return np.column_stack([u, v, [x, y] - (u + v) / 2])


class PlacementFilter(Protocol):
    """Smooths the placements of tracks from frame to frame; one filter serves one stream at a time."""

    def push(self, tracks: Tracks, pts: float) -> Tracks | None:
        """Take the tracks of the next frame, at ``pts`` seconds; return those of the oldest frame not yet returned.

        The result is None while the filter needs later frames first.
        """
        ...

    def flush(self) -> list[Tracks]:
        """Return the tracks of all frames not yet returned; the next frame begins a new stream."""
        ...


class NoFilter:
    """A filter that leaves placements as they were detected."""

    def push(self, tracks: Tracks, pts: float) -> Tracks:
        return tracks

    def flush(self) -> list[Tracks]:
        return []


class OneEuroFilter:
    """A filter for live streams: it smooths faces at rest, follows moving ones, and adds no delay.

    It is the one-euro filter (Casiez et al., CHI 2012) over each number of the similarity; the centre's speed is
    measured in sides of the crop per second. A face that is not detected keeps its placement.

    Args:
        cutoff: cut-off frequency in Hz for a face at rest; lower is steadier.
        beta: increase of the cut-off frequency with speed; higher follows faster.
        speed_cutoff: cut-off frequency in Hz for the speed itself.
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
    """A filter for files: it smooths over the frames before and after, without lag, and delays by three ``sigma_axes``.

    The placement of a face that was missed in some frames is interpolated linearly between the frames around them.

    Args:
        sigma_centre: standard deviation for the centre, in frames.
        sigma_axes: standard deviation for side and angle, in frames; most of the landmarks' noise is in these.

    Raises:
        RequestError: a standard deviation is not positive.
    """

    def __init__(self, sigma_centre: float = 1.0, sigma_axes: float = 3.0) -> None:
        if min(sigma_centre, sigma_axes) <= 0:
            raise RequestError(
                "smoothing",
                got=f"standard deviations of {sigma_centre} and {sigma_axes} frames",
                expected="positive numbers",
                remedy="use smoothing 'off' for none",
            )
        self._sigmas = np.array([sigma_centre, sigma_centre, sigma_axes, sigma_axes])
        self._radius = int(np.ceil(3 * max(sigma_centre, sigma_axes)))
        self._window: deque[Tracks] = deque()
        self._emitted = 0  # number of the window's frames that have been returned

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
    """Weights of a frame's own code in the average over frames, at 30 frames per second; 1 does not smooth.

    ``coarse``: weight of rows 0-2, which determine the pose.
    ``middle``: weight of rows 3-6, which determine the expression.
    ``fine``: weight of the other rows, which determine colours and texture; these hardly change for one face.

    Raises:
        RequestError: a weight is not above 0 and at most 1.
    """

    coarse: float = 1.0
    middle: float = 0.8
    fine: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < weight <= 1 for weight in (self.coarse, self.middle, self.fine)):
            raise RequestError(
                "row weights",
                got=f"{self.coarse}, {self.middle}, {self.fine}",
                expected="numbers above 0 and at most 1",
                remedy="use 1 for no smoothing",
            )

    def by_row(self, rows: int, elapsed: float) -> NDArray[np.float32]:
        """Return the weights [rows, 1] of a frame that comes ``elapsed`` seconds after the previous one."""
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
        """Smooth the codes float32 [N, L, D] of the tracks ``ids`` at ``pts`` seconds -> float32 [N, L, D].

        For tracks that the previous frame had, ``w`` may hold only the first rows; the others keep their last values.
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
    """The code of one face at ``pts`` seconds: smoothed, and as its rows were last given; both float32 [L, D]."""

    smooth: Codes
    given: Codes
    pts: float


class FullCodeSchedule:
    """Decides which frames need all rows of their codes: those with a new face, and one in every ``interval``.

    Args:
        interval: seconds between such frames. ``CodeFilter`` needs a third of a second to follow a change of the rows
            that are held in between.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self.reset()

    def reset(self) -> None:
        """Forget all faces."""
        self._ids: set[int] = set()
        self._last = -inf

    def due(self, ids: Sequence[int], pts: float) -> bool:
        """Return whether a frame with the tracks ``ids`` at ``pts`` seconds needs all rows; False without tracks."""
        if not ids:
            return False
        known, self._ids = self._ids, {*ids}
        if self._ids <= known and 0 <= pts - self._last < self._interval:
            return False
        self._last = pts
        return True


CUT_THRESHOLD = 14.0
"""Threshold for a cut, in levels of 255.

Drawn faces in strong motion under flickering light gave at most 11; cuts within one room 16 and more, cuts to another
room 44 and more.
"""


class CutDetector:
    """Detects cuts by the change of the distributions of levels in the four quarters of the picture.

    For each quarter and channel the sorted levels are compared. Their mean difference is the least total change of the
    pixels (the earth mover's distance): it is small when a face moves, and large when the picture is another one. A
    false detection only interrupts the smoothing for a moment.

    Args:
        threshold: mean difference, in levels of 255, above which a frame begins another scene.
    """

    def __init__(self, threshold: float = CUT_THRESHOLD) -> None:
        self._threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._levels: NDArray[np.int16] | None = None

    def is_cut(self, pixels: Photo) -> bool:
        """Return whether this frame, uint8 [H, W, 3], begins another scene than the last one; False for the first."""
        before, self._levels = self._levels, _sorted_levels(pixels)
        return before is not None and float(np.abs(self._levels - before).mean()) > self._threshold


def _sorted_levels(pixels: Photo) -> NDArray[np.int16]:
    # Pixels are skipped before averaging: averaging all of a large frame would take as long as detecting its faces.
    sampled = cv2.resize(pixels, (256, 192), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sampled, (64, 48), interpolation=cv2.INTER_AREA)
    quarters = small.reshape(2, 24, 2, 32, 3).swapaxes(1, 2).reshape(4, 24 * 32, 3)
    return np.sort(quarters, axis=1).astype(np.int16)


def _smoothing_factor(cutoff: float | NDArray[np.float64], elapsed: float) -> float | NDArray[np.float64]:
    """Return the new value's weight in an exponential average with a cut-off frequency in Hz."""
    ratio = 2 * pi * cutoff * elapsed
    return ratio / (ratio + 1)


def _speed_units(similarity: Similarity) -> NDArray[np.float64]:
    side = exp(similarity[2])
    return np.array([side, side, 1, 1])


def _with_wrapped_angle(change: Similarity) -> Similarity:
    """Return the change with its angle wrapped to -pi..pi; the array is modified."""
    change[3] = (change[3] + pi) % (2 * pi) - pi
    return change
