"""A character's head: the mesh moved by traits and, in a cartoon, exaggerated; eyes, skull, chin, nose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.direction_weights import direction_weights
from export.demo_models.characters.head import Head, Vectors, read_head
from export.demo_models.characters.person import Person, smoothstep

PIVOT = np.array([0.0, -0.75, -0.6], np.float32)
"""The joint between head and neck."""
STYLISED = (0.18, 0.2, 0.1)
"""How much larger than life eyes are in both domains, as in animated films."""
SMOOTHING_STEPS = 10
EYE_REACH = 0.27
"""The distance from an eye at which its enlargement has fallen to a half, in decimetres."""
SHOULDER, ARM = (1.55, -1.55), 0.62
"""x and y of the image-right shoulder joint, and the angle by which arms are turned down, in radians."""
NECK_SQUASH = 0.47
"""The neck's length relative to the body's own, so that the collar is in the picture."""


@dataclass(frozen=True)
class Eye:
    """An eyeball: an ellipsoid.

    Attributes:
        centre: its centre, [3].
        radii: its half axes, [3].
        gaze: the direction in which it looks, [3].
    """

    centre: Vectors
    radii: Vectors
    gaze: Vectors


@dataclass(frozen=True)
class Figure:
    """A person's head and shoulders in three dimensions, before the head turns.

    Args:
        person: the traits.
        structure: 0 = a photograph's proportions, 1 = a cartoon's.
    """

    person: Person
    structure: float

    @property
    def head(self) -> Head:
        return read_head()

    @cached_property
    def _weights(self) -> dict[str, float]:
        return direction_weights(self.person, self.structure)

    @cached_property
    def plain(self) -> tuple[Vectors, Vectors]:
        """The vertices [V, 3] and eyeballs [2, 4] without exaggeration."""
        vertices, eyes = self.head.vertices.copy(), self.head.eyes.copy()
        for name, weight in self._weights.items():
            vertices += np.float32(weight) * self.head.directions[name]
            eyes += np.float32(weight) * self.head.eye_directions[name]
        return vertices, eyes

    def _smoothed(self, points: Vectors) -> Vectors:
        """Smooth cheeks and forehead, as the skin of an animated film's characters is, and more in cartoons."""
        chosen, around, share = _smoothing()
        amount = (0.35 + 0.65 * self.structure) * (1 - 0.7 * self.person.has("age") * (1 - 0.5 * self.structure))
        smooth = points.copy()
        for _ in range(SMOOTHING_STEPS):
            mean = (smooth[around[0]] + smooth[around[1]] + smooth[around[2]] + smooth[around[3]]) / 4
            smooth[chosen] += share * (mean - smooth[chosen])
        return np.asarray(points + np.float32(amount) * (smooth - points), np.float32)

    @cached_property
    def vertices(self) -> Vectors:
        """The vertices with exaggeration, [V, 3]."""
        points = self._smoothed(self.exaggerated(_with_arms_down(self.plain[0])))
        # Closed lips touch, and the mouth's inside would come through them.
        points[:, 2] -= np.float32(0.025) * np.clip(-1 - self.head.lips, 0, 4)
        return points

    def exaggerated(self, points: Vectors) -> Vectors:
        """Move points [N, 3] from a photograph's proportions to those of ``structure``."""
        points = points + _eye_growth(points, self.plain[1], STYLISED)
        return points + np.float32(self.structure) * _exaggeration(points, self.plain[1])

    @cached_property
    def eyes(self) -> tuple[Eye, Eye]:
        """The eyeballs, image-right one first."""
        balls = self.plain[1]
        gaze = 0.16 * self.person.trait("gaze")
        direction = np.array([np.sin(gaze), 0.0, np.cos(gaze)], np.float32)
        return self._eye(balls[0], direction), self._eye(balls[1], direction)

    def _eye(self, ball: Vectors, gaze: Vectors) -> Eye:
        axes = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]).astype(np.float32) * ball[3] * 0.9
        moved = self.exaggerated(ball[:3] + axes)
        radii = np.abs(moved[1:4] - moved[4:7]).diagonal() / 2 / 0.9
        centre = moved[0].copy()
        return Eye(centre, radii.astype(np.float32), gaze)


@cache
def _smoothing() -> tuple[NDArray[np.int64], NDArray[np.int64], Vectors]:
    """Return the vertices that are smoothed, [N], four neighbours of each, [4, N], and how far it is, [N, 1]."""
    head = read_head()
    around = np.repeat(np.arange(len(head.vertices))[:, None], 4, 1)
    for corner in range(4):
        # Quads that share a vertex name each of its neighbours twice; any four of them will do.
        around[head.quads[:, corner], corner] = head.quads[:, (corner + 1) % 4]
    x, y, z = head.vertices.T
    nose = np.exp(-(((x / 0.16) ** 2 + ((y + 0.36) / 0.16) ** 2) ** 2))
    # The upper lid must keep its bulge over the eyeball; below the eye, folds are smoothed too.
    near = np.where(y > -0.06, smoothstep(head.lids, 9, 13), smoothstep(head.lids, 3, 7))
    share = near * smoothstep(head.lips, 6, 10) * (1 - nose)
    share = share * smoothstep(z, -0.6, -0.4) * (1 - smoothstep(np.abs(x), 0.6, 0.68)) * (y > -1.05)
    chosen = np.flatnonzero(share > 0.01)
    return chosen, around[chosen].T, np.asarray(share[chosen, None], np.float32)


def _exaggeration(points: Vectors, balls: Vectors) -> Vectors:
    """Return the offsets from a photograph's proportions to a cartoon's, [N, 3]."""
    x, y, z = points.T
    offsets = _eye_growth(points, balls, (0.50, 0.66, 0.12))
    front = smoothstep(z, -0.7, -0.1)
    nose = np.exp(-((x / 0.24) ** 2 + ((y + 0.36) / 0.24) ** 2)) * front
    offsets += (nose * -0.34)[:, None] * (points - np.array([0, -0.34, 0.12], np.float32))
    mouth = np.exp(-((x / 0.42) ** 2 + ((y + 0.7) / 0.2) ** 2)) * front
    offsets += (mouth * -0.10)[:, None] * (points - np.array([0, -0.7, 0.1], np.float32)) * (1, 0.4, 0.4)
    skull = smoothstep(y, -0.15, 0.8)
    offsets += (0.16 * skull)[:, None] * (points - np.array([0, 0.1, -0.55], np.float32)) * (1, 0.8, 1)
    low = smoothstep(-y, 0.1, 1.0)
    offsets[:, 0] -= 0.19 * low * x
    offsets[:, 1] += 0.15 * smoothstep(-y, 0.62, 1.15)
    offsets[:, 2] -= 0.10 * low * front * smoothstep(-y, 0.5, 1.0)
    return offsets.astype(np.float32)


def _eye_growth(points: Vectors, balls: Vectors, growth: tuple[float, float, float]) -> Vectors:
    """Return the offsets that enlarge eyes with their lids, uniformly near each eye and not at all far from it."""
    offsets = np.zeros_like(points)
    for ball in balls:
        side = np.sign(ball[0])
        centre = ball[:3] + np.array([0.015 * side, -0.02, 0.09], np.float32)
        away = points - centre
        r2 = (away[:, 0] ** 2 + away[:, 1] ** 2) / EYE_REACH**2
        near = smoothstep(points[:, 2], -0.65, -0.25) / (1 + r2 * r2)
        offsets += near[:, None] * (away * np.array(growth, np.float32) + np.array([0.08 * side * growth[0], 0, 0]))
    return offsets.astype(np.float32)


def _with_arms_down(points: Vectors) -> Vectors:
    """Turn the arms, which the mesh spreads, down from the shoulders, [N, 3]."""
    points = points.copy()
    side = np.sign(points[:, 0])
    away = points[:, :2] - np.stack([SHOULDER[0] * side, np.full_like(side, SHOULDER[1])], 1)
    angle = -side * ARM * smoothstep(np.abs(points[:, 0]), SHOULDER[0] - 0.35, SHOULDER[0] + 0.55)
    c, s = np.cos(angle), np.sin(angle)
    points[:, 0] += c * away[:, 0] - s * away[:, 1] - away[:, 0]
    points[:, 1] += s * away[:, 0] + c * away[:, 1] - away[:, 1]
    return points


def posed(points: Vectors, person: Person) -> Vectors:
    """Turn the head by yaw and pitch upon the neck and shorten the neck, [N, 3]."""
    yaw, pitch = 0.24 * person.trait("yaw"), -0.10 * person.trait("pitch")
    low = PIVOT[1] - 0.2
    free = np.minimum(points[:, 1] - low, 0)
    drop = smoothstep(-(points[:, 1] - low), 0, 0.25)
    turning = smoothstep(points[:, 1], -1.55, -0.95)
    away = points - PIVOT
    angle = (yaw * turning).astype(np.float32)
    c, s = np.cos(angle), np.sin(angle)
    x, z = c * away[:, 0] + s * away[:, 2], -s * away[:, 0] + c * away[:, 2]
    angle = (pitch * turning).astype(np.float32)
    c, s = np.cos(angle), np.sin(angle)
    y, z = c * away[:, 1] - s * z, s * away[:, 1] + c * z
    turned = np.stack([x, y, z], 1) + PIVOT
    turned[:, 1] -= (1 - NECK_SQUASH) * free * drop * 0.75
    return np.asarray(turned, np.float32)
