"""Eyes, lashes and brows of a character."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.direction_weights import bared, spoken
from export.demo_models.characters.head import Vectors, read_head
from export.demo_models.characters.parts import Material, Part, grid_part
from export.demo_models.characters.person import Person, smoothstep
from export.demo_models.characters.shape import Eye, Figure

EYE_RINGS, EYE_SPOKES = 18, 32
BROW_POINTS, BROW_PROFILE = 22, 7
BROW_LINE = ((0.085, 0.212), (0.18, 0.245), (0.28, 0.262), (0.39, 0.252), (0.49, 0.20))
"""The middle line of the image-right brow on the mean head, from the nose outwards."""
TEETH = 0.085
"""The height of the teeth in decimetres."""
REACH = 0.05
"""The distance above and below the line at which the skin's slope is measured."""


def eye_part(eye: Eye) -> Part:
    """Return the front of an eyeball; its channels are a point's position on the ball of radius 1, gaze ahead."""
    turn = -2 * np.pi * np.arange(EYE_SPOKES) / EYE_SPOKES
    angle = np.linspace(0, 1.75, EYE_RINGS)[:, None]
    local = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn], -1)
    ahead = eye.gaze
    right = np.array([ahead[2], 0, -ahead[0]])
    up = np.cross(ahead, right)
    ball = local[..., :1] * right + local[..., 1:2] * up + local[..., 2:] * ahead
    points = eye.centre + ball * eye.radii
    return grid_part(points, Material.EYE, [*np.moveaxis(local, -1, 0)], closed=True)


def lash_parts(figure: Figure, thickness: float) -> list[Part]:
    """Return the dark edges of the upper lids, with lashes that point outwards."""
    sides = zip((1, -1), figure.head.margins, strict=True)
    return [
        _lashes(figure.vertices[_upper_lid(margin, side)], side, thickness, figure.person) for side, margin in sides
    ]


def _upper_lid(margin: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return the upper half of an eye's margin, from the outer corner to the inner one."""
    rest = read_head().vertices[margin]
    ring = np.roll(np.arange(len(margin)), -int(np.argmax(side * rest[:, 0])))
    if rest[ring[3], 1] < rest[ring[-3], 1]:  # it goes over the lower lid first
        ring = np.roll(ring[::-1], 1)
    chosen: NDArray[np.int64] = margin[ring[: len(margin) // 2 + 1]]
    return chosen


def _lashes(lid: Vectors, side: int, thickness: float, person: Person) -> Part:
    """Return a strip along a lid's edge [N, 3], longest at the outer corner."""
    share = np.linspace(0, 1, len(lid))[:, None]
    length = thickness * (0.5 + 0.85 * (1 - person.has("gender"))) * np.sin(np.pi * (0.10 + 0.9 * share)) ** 0.5
    length = length * (1.35 - 0.75 * share)
    outwards = np.array([side * 0.75, 0.55, 0.75]) * (1 - share) + np.array([-0.1 * side, 0.7, 0.75]) * share
    tip = lid + length * outwards
    lifted = lid + np.array([0, -0.004, 0.010])
    rows = np.stack([lifted, 0.5 * (lifted + tip) + (0, 0, 0.012), tip])
    return grid_part(rows, Material.LASH, [], two_sided=True)


def brow_parts(figure: Figure) -> list[Part]:
    """Return both brows: strips that bulge over the skin; the channel is the fraction along the brow."""
    person = figure.person
    share = np.linspace(0, 1, BROW_POINTS)[:, None]
    half = _half_width(share, person, figure.structure)
    across = np.linspace(-1, 1, BROW_PROFILE)[None]
    bulge = 0.012 + (0.016 + 0.35 * half) * np.sqrt(np.maximum(1 - across**2, 0)) * np.sqrt(np.clip(half / 0.02, 0, 1))
    rise = 0.012 * person.trait("brow_height") - 0.02 * person.has("gender")
    parts = []
    for side in (1, -1):
        points = _brow(figure, side, half * across, bulge)
        points[..., 1] += rise
        rows = (points if side > 0 else points[::-1]).transpose(1, 0, 2)
        along = np.broadcast_to(share.T, rows.shape[:2])
        parts.append(grid_part(rows, Material.BROW, [along], two_sided=True))
    return parts


def _half_width(share: Vectors, person: Person, structure: float) -> Vectors:
    """Return half of a brow's width at fractions of its length [N, 1]: it tapers outwards, and its ends are round."""
    width = 0.036 + 0.0075 * person.trait("brow_thickness") + 0.012 * person.has("gender") + 0.006 * structure
    tapered = np.maximum(width, 0.012) * (np.clip(share / 0.18, 0, 1) ** 0.5) * (1 - 0.78 * share**1.7)
    half: Vectors = tapered * np.sqrt(np.clip((1 - share) / 0.12, 0, 1))
    return half


def _brow(figure: Figure, side: int, across: Vectors, bulge: Vectors) -> Vectors:
    """Return a brow's points, [BROW_POINTS, BROW_PROFILE, 3], from their places across it and over the skin."""
    low, middle, high = (
        np.einsum("nk,nkc->nc", weights, figure.vertices[corners]) for corners, weights in _anchors(side)
    )
    slope = (high - low) / (2 * REACH)
    normal = np.cross(np.gradient(middle, axis=0), slope) * side
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return np.asarray(middle[:, None] + across[..., None] * slope[:, None] + bulge[..., None] * normal[:, None])


def teeth_part(figure: Figure) -> Part:
    """Return the upper row of teeth as one band that hangs from the upper lip's inner edge."""
    ring = _upper_lip()
    edge = figure.vertices[ring]
    share = np.linspace(-1, 1, len(ring))[:, None]
    back = 0.035 + 0.05 * share**2
    # Behind closed lips they would shine through the seam.
    height = TEETH * float(smoothstep(bared(figure.person) + spoken(figure.person), 0.25, 0.60))
    band = [
        edge + np.array([0, rise, 0], np.float32) - back * np.array([0, 0, 1], np.float32)
        for rise in (0.02, -height / 2, -height)
    ]
    return grid_part(np.stack(band[::-1]), Material.TEETH, [np.broadcast_to(share.T, (3, len(ring)))], two_sided=True)


@cache
def _upper_lip() -> NDArray[np.int64]:
    """Return the vertices of the upper lip's inner edge from image-left to image-right."""
    head = read_head()
    ring = np.flatnonzero(head.lips == -1)
    x, y, _ = head.vertices[ring].T
    ring = ring[(np.abs(x) < 0.225) & (y > np.interp(x, *_seam()))]
    ordered: NDArray[np.int64] = ring[np.argsort(head.vertices[ring, 0])]
    return ordered


def _seam() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y of the line where the lips meet: the mean of the ring there, by x."""
    head = read_head()
    ring = head.vertices[head.lips == 0]
    x = np.linspace(-0.24, 0.24, 25, dtype=np.float32)
    weights = np.exp(-(((x[:, None] - ring[:, 0]) / 0.03) ** 2))
    return x, np.asarray(weights @ ring[:, 1] / weights.sum(1), np.float32)


@cache
def _anchors(side: int) -> tuple[tuple[NDArray[np.int64], Vectors], ...]:
    """Return, for points below, on and above a brow's line, the vertices near each and their weights, [N, 8]."""
    head = read_head()
    x, y = np.array(BROW_LINE).T
    share = np.linspace(0, 1, BROW_POINTS)
    line = np.stack([np.interp(share, np.linspace(0, 1, len(x)), x), _smooth(share, y)], 1) * (side, 1)
    skin = np.unique(head.quads)
    skin = skin[(head.vertices[skin, 2] > -0.3) & (head.lids[skin] > 2)]
    return tuple(_nearest(line + np.array([0, rise]), skin) for rise in (-REACH, 0, REACH))


def _smooth(share: NDArray[np.float64], heights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.polyval(np.polyfit(np.linspace(0, 1, len(heights)), heights, 3), share)


def _nearest(line: NDArray[np.float64], skin: NDArray[np.int64]) -> tuple[NDArray[np.int64], Vectors]:
    """Express points (x, y) by the skin's vertices near them, with weights that reproduce linear functions."""
    positions = read_head().vertices[skin, :2].astype(np.float64)
    corners, weights = [], []
    for point in line:
        near = np.argsort(((positions - point) ** 2).sum(1))[:8]
        away = positions[near] - point
        kernel = np.exp(-(away**2).sum(1) / 0.05**2)
        linear = np.column_stack([np.ones(8), away])
        weights.append(kernel * (linear @ np.linalg.pinv((linear * kernel[:, None]).T @ linear)[:, 0]))
        corners.append(skin[near])
    return np.array(corners), np.array(weights, np.float32)
