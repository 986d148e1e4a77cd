"""Tracking: matching of the faces of a frame to those of the frame before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, product
from math import hypot, log

from engines.contract.errors import AlignmentError, RequestError
from serving.faces.alignment import SMALLEST_FACE, Placement, Points, side_of, square_of_any_size
from serving.faces.landmarks import Face
from serving.faces.left_alone import SMALLEST_TOONIFIED
from serving.faces.outline import outline_of
from serving.faces.pose import Facing, facing

_MAX_MATCH_DISTANCE = 0.6
"""Largest ``placement_distance`` between two frames of one face; at 30 frames/s faces move a tenth of it."""

_STILL_SHOWN = 0.9
"""Share of the smallest size down to which a face that was shown stays, so that its size may vary a little."""

_DUPLICATE_DISTANCE = 0.25
"""``placement_distance`` below which two detections are taken for one face that was detected twice."""


@dataclass(frozen=True, eq=False)
class Track:
    """The state of a followed face at one frame.

    ``id``: the face's number.
    ``placement``: the placement of its crop where it was last detected.
    ``seen``: True if it was detected in this frame.
    ``opacity``: 0..1; below 1 while the face fades out, or in again.
    ``away``: True if it is turned away, and so fades out, though it may be seen.
    ``small``: True if it is too small, and so fades out.
    ``outline``: its outline in its crop where it was last detected, float64 [36, 2]; None without a mesh.
    """

    id: int
    placement: Placement
    seen: bool = True
    opacity: float = 1.0
    away: bool = False
    outline: Points | None = None
    small: bool = False


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face detected in a frame: the placement of its crop, whether it is turned to the camera, and its outline."""

    placement: Placement
    facing: Facing = "towards"
    outline: Points | None = None

    @property
    def side(self) -> float:
        """The side of its crop in pixels of the frame."""
        return side_of(self.placement)


@dataclass(frozen=True)
class Tracking:
    """Settings of the tracker.

    ``max_faces``: largest number of faces at once; followed faces have priority, then the largest ones.
    ``hold``: seconds for which a lost face keeps its place, since detectors miss faces for a few frames at a time.
    ``fade``: seconds over which it then disappears; a face that turns away, or becomes too small, does so at once.
    ``smallest``: side of a face's square in pixels below which it is left alone; a face that was toonified before stays
    until it is a tenth smaller.

    Raises:
        RequestError: ``max_faces`` is below 1, or a time or a size is negative.
    """

    max_faces: int = 4
    hold: float = 0.5
    fade: float = 0.3
    smallest: float = SMALLEST_TOONIFIED

    def __post_init__(self) -> None:
        if self.max_faces < 1 or not all(number >= 0 for number in (self.hold, self.fade, self.smallest)):
            raise RequestError(
                "tracking",
                got=f"{self.max_faces} faces, hold {self.hold} s, fade {self.fade} s, smallest {self.smallest} pixels",
                expected="1 face or more, and times and sizes of 0 or more",
                remedy="correct the numbers",
            )


class Tracker:
    """Assigns each face a number that it keeps while it is in sight; numbers are never reused.

    ``small_faces`` is the number of faces in the last frame that were left alone because they are small.
    """

    def __init__(self, tracking: Tracking | None = None) -> None:
        self._tracking = tracking or Tracking()
        self._smallest = max(self._tracking.smallest, SMALLEST_FACE)
        self._ids = count()
        self.reset()

    def reset(self) -> None:
        """Forget all faces, because another scene begins."""
        self._tracks: tuple[Track, ...] = ()
        self._last_seen: dict[int, float] = {}
        self._pts = 0.0
        self.small_faces = 0

    def update(self, sightings: Sequence[Sighting], pts: float) -> tuple[Track, ...]:
        """Return the next frame's tracks, at ``pts`` seconds, from the faces detected in it, largest first."""
        elapsed, self._pts = pts - self._pts, pts
        matches = _matches(self._tracks, sightings)
        followed = [self._updated(track, matches.get(track.id), elapsed) for track in self._tracks]
        # A small face that has faded out takes no place from another one.
        visible = [track for track in followed if (track.seen and not track.small) or track.opacity > 0]
        self._tracks = (*visible, *self._new_tracks(sightings, visible))
        self._last_seen = {track.id: pts if track.seen else self._last_seen[track.id] for track in self._tracks}
        shown = [matches[track.id] for track in visible if track.seen and not track.small]
        others = [sighting for sighting in sightings if sighting not in shown and sighting.facing != "away"]
        self.small_faces = sum(sighting.side < self._smallest for sighting in others)
        return self._tracks

    def _updated(self, track: Track, sighting: Sighting | None, elapsed: float) -> Track:
        if sighting is None:
            held = self._pts - self._last_seen[track.id] <= self._tracking.hold
            return replace(self._faded(track, elapsed, shown=held and not (track.away or track.small)), seen=False)
        away = sighting.facing == "away" or (track.away and sighting.facing == "between")
        small = sighting.side < self._smallest * (1.0 if track.small else _STILL_SHOWN)
        return replace(
            self._faded(track, elapsed, shown=not (away or small)),
            placement=sighting.placement,
            outline=sighting.outline,
            seen=True,
            away=away,
            small=small,
        )

    def _faded(self, track: Track, elapsed: float, *, shown: bool) -> Track:
        step = elapsed / self._tracking.fade if self._tracking.fade else 1.0
        return replace(track, opacity=min(max(track.opacity + (step if shown else -step), 0.0), 1.0))

    def _new_tracks(self, sightings: Sequence[Sighting], followed: Sequence[Track]) -> list[Track]:
        new: list[Track] = []
        for sighting in sightings:
            others = [track for track in (*followed, *new) if track.seen]
            if len(followed) + len(new) >= self._tracking.max_faces:
                break
            if sighting.side < self._smallest:
                continue
            if all(placement_distance(sighting.placement, track.placement) > _DUPLICATE_DISTANCE for track in others):
                away = sighting.facing == "away"
                opacity = 0.0 if away else 1.0
                new.append(
                    Track(next(self._ids), sighting.placement, opacity=opacity, away=away, outline=sighting.outline)
                )
        return new


def sightings_from_faces(faces: Iterable[Face]) -> list[Sighting]:
    """Return the faces that have a square, in order; a false detection may have impossible landmarks."""
    sightings = []
    for face in faces:
        with suppress(AlignmentError):
            placement = square_of_any_size(face.points)
            sightings.append(Sighting(placement, facing(face), outline_of(face, placement)))
    return sightings


def placement_distance(a: Placement, b: Placement) -> float:
    """Return the centres' distance, in sides of the larger placement, plus the absolute log of the sides' ratio."""
    (xa, ya), (xb, yb) = (placement @ (0.5, 0.5, 1) for placement in (a, b))
    side_a, side_b = side_of(a), side_of(b)
    return hypot(xb - xa, yb - ya) / max(side_a, side_b) + abs(log(side_b / side_a))


def _matches(tracks: Sequence[Track], sightings: Sequence[Sighting]) -> dict[int, Sighting]:
    """Match tracks to sightings, nearest pair first, up to ``_MAX_MATCH_DISTANCE``; return sightings by track id."""
    pairs = sorted(
        (placement_distance(track.placement, sighting.placement), track.id, i)
        for track, (i, sighting) in product(tracks, enumerate(sightings))
    )
    matched: dict[int, int] = {}
    for distance, track_id, i in pairs:
        if distance <= _MAX_MATCH_DISTANCE and track_id not in matched and i not in matched.values():
            matched[track_id] = i
    return {track_id: sightings[i] for track_id, i in matched.items()}
