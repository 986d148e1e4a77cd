"""A z-buffer in NumPy: which triangle is seen at each pixel, and what its vertices' values are there.

All triangles are drawn at once. Each is cut into its rows of pixels, the rows into pixels, and the nearest of all
pixels at a place wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Indices = NDArray[np.int32] | NDArray[np.int64]

FAR = np.float32(-1e9)


@dataclass(frozen=True)
class Visible:
    """What is seen at the centres of a picture's pixels.

    Attributes:
        triangles: the triangle seen at each pixel, -1 for none, [side, side].
        depth: the nearness of it, ``FAR`` where nothing is seen, [side, side].
    """

    triangles: Indices
    depth: Values


def interpolated(screen: Values, triangles: Indices, values: Values, owners: Indices, x: Values, y: Values) -> Values:
    """Interpolate vertices' values linearly in triangles, [K, C].

    Args:
        screen: x and y of each vertex in pixels, [V, 2].
        triangles: the vertices of each triangle, [T, 3].
        values: float32 [V, C].
        owners: the triangle of each of K points, [K].
        x: the points in pixels from the left, [K].
        y: the same from the top, [K].
    """
    seen = np.zeros(len(triangles), bool)
    seen[owners] = True
    number = np.cumsum(seen, dtype=np.int32)[owners] - 1
    a, b, c = (screen[triangles[seen, corner]] for corner in range(3))
    area = doubled_area(a, b, c)
    va, vb, vc = (values[triangles[seen, corner]] for corner in range(3))
    u, v = (vb - va) / area[:, None], (vc - va) / area[:, None]
    dx = u * (c[:, 1] - a[:, 1])[:, None] - v * (b[:, 1] - a[:, 1])[:, None]
    dy = v * (b[:, 0] - a[:, 0])[:, None] - u * (c[:, 0] - a[:, 0])[:, None]
    out: Values = (va - dx * a[:, :1] - dy * a[:, 1:])[number]
    out += dx[number] * x[:, None]
    out += dy[number] * y[:, None]
    return out


def doubled_area(a: Values, b: Values, c: Values) -> Values:
    """Return twice the area of triangles by their corners [T, 2], positive where these go round clockwise, [T]."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])


def rasterise(screen: Values, depth: Values, triangles: Indices, side: int) -> Visible:
    """Find the nearest triangle at every pixel's centre.

    Args:
        screen: x and y of each vertex in pixels, the first pixel being 0..1, [V, 2].
        depth: nearness of each vertex, larger is nearer, [V].
        triangles: the vertices of each triangle, [T, 3].
        side: width and height of the picture in pixels.
    """
    rows = _rows(screen, depth, triangles, side)
    lengths = rows.ends - rows.starts
    first = np.cumsum(lengths, dtype=np.int32) - lengths
    count = int(lengths.sum())
    # Pixels are numbered through all rows; ``first`` is the number of each row's first pixel.
    order = np.arange(count, dtype=np.int32)
    place = order + np.repeat(rows.y * side + rows.starts - first, lengths)
    steps = (order - np.repeat(first, lengths)).astype(np.float32)
    nearness = np.repeat(rows.near, lengths) + np.repeat(rows.slope, lengths) * steps
    buffer = np.full(side * side, FAR, np.float32)
    np.maximum.at(buffer, place, nearness)
    wins = nearness == buffer[place]
    ids = np.full(side * side, -1, np.int32)
    ids[place[wins]] = np.repeat(rows.owners, lengths)[wins]
    return Visible(ids.reshape(side, side), buffer.reshape(side, side))


@dataclass(frozen=True)
class _Rows:
    """The rows of pixels of all triangles, R of them.

    Attributes:
        y: the row's number from the top, [R].
        starts, ends: its first pixel, and the one after its last, [R].
        near: nearness at the first pixel's centre, [R].
        slope: by how much nearness grows from one pixel to the next, [R].
        owners: the triangle, [R].
    """

    y: Indices
    starts: Indices
    ends: Indices
    near: Values
    slope: Values
    owners: Indices


def _rows(screen: Values, depth: Values, triangles: Indices, side: int) -> _Rows:
    """Cut the triangles that lie in the picture into rows of pixels."""
    a, b, c = screen[triangles[:, 0]], screen[triangles[:, 1]], screen[triangles[:, 2]]
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    inside = (high[:, 0] > 0) & (high[:, 1] > 0) & (low[:, 0] < side) & (low[:, 1] < side)
    area = doubled_area(a, b, c)
    owner = np.flatnonzero(inside & (np.abs(area) > 1e-6)).astype(np.int32)
    a, b, c, area = a[owner], b[owner], c[owner], area[owner]
    da, db, dc = depth[triangles[owner]].T
    slope = ((db - da) * (c[:, 1] - a[:, 1]) - (dc - da) * (b[:, 1] - a[:, 1])) / area
    rise = ((dc - da) * (b[:, 0] - a[:, 0]) - (db - da) * (c[:, 0] - a[:, 0])) / area
    top = np.clip(np.ceil(low[owner, 1] - np.float32(0.5)), 0, side).astype(np.int32)
    bottom = np.clip(np.ceil(high[owner, 1] - np.float32(0.5)), 0, side).astype(np.int32)
    heights = np.maximum(bottom - top, 0)
    which = np.repeat(np.arange(len(owner), dtype=np.int32), heights)
    firsts = top - (np.cumsum(heights, dtype=np.int32) - heights)
    y = np.arange(len(which), dtype=np.int32) + firsts[which]
    left, right = _crossings(np.stack([a, b, c], 1), which, y.astype(np.float32) + np.float32(0.5))
    starts = np.clip(np.ceil(left - 0.5), 0, side).astype(np.int32)
    ends = np.clip(np.ceil(right - 0.5), 0, side).astype(np.int32)
    kept = ends > starts
    which, y, starts, ends = which[kept], y[kept], starts[kept], ends[kept]
    middle = starts.astype(np.float32) + np.float32(0.5) - a[which, 0]
    near = da[which] + slope[which] * middle + rise[which] * (y.astype(np.float32) + np.float32(0.5) - a[which, 1])
    return _Rows(y, starts, ends, near.astype(np.float32), slope[which].astype(np.float32), owner[which])


def _crossings(corners: Values, which: Indices, y: Values) -> tuple[Values, Values]:
    """Return where the edges of triangles cross horizontal lines: the smallest and the largest x."""
    order = np.argsort(corners[:, :, 1], axis=1)
    top, middle, bottom = (corners[np.arange(len(corners)), order[:, corner]] for corner in range(3))
    slopes = [_slope(top, bottom), _slope(top, middle), _slope(middle, bottom)]
    # x = offset + slope * y on the long edge, and on the short one that the line crosses.
    long = (top[:, 0] - slopes[0] * top[:, 1])[which] + slopes[0][which] * y
    offsets = np.stack([top[:, 0] - slopes[1] * top[:, 1], middle[:, 0] - slopes[2] * middle[:, 1]], 1).ravel()
    short = 2 * which + (y >= middle[which, 1])
    other = offsets[short] + np.stack(slopes[1:], 1).ravel()[short] * y
    return np.minimum(long, other), np.maximum(long, other)


def _slope(a: Values, b: Values) -> Values:
    rise = b[:, 1] - a[:, 1]
    return np.asarray((b[:, 0] - a[:, 0]) / np.where(rise == 0, np.float32(1), rise), np.float32)
