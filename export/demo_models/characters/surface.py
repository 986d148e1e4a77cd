"""What a picture's pixels show: the interpolated values from which both surfaces are coloured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.body import BEARD, CLOTH, LIPS
from export.demo_models.characters.colours import Palette, palette_of
from export.demo_models.characters.light import Light, light_of, openness
from export.demo_models.characters.parts import Material
from export.demo_models.characters.person import Person, smoothstep
from export.demo_models.characters.rasteriser import Values, Visible, doubled_area, interpolated
from export.demo_models.characters.scene import Scene

SAMPLES = 2
"""Samples per pixel in either direction."""
STEP = 0.05
"""The step in depth, in decimetres, at which a pixel's samples are coloured one by one."""
FINE = (Material.EYE, Material.LASH, Material.BROW, Material.FRAME)
"""Materials whose samples are always coloured one by one."""
LIP_END = 4.6
"""The ring round the mouth at which lips end."""
MOUTH_START = -2.0
"""The ring at which the mouth's inside begins."""


@dataclass(frozen=True)
class Points:
    """The places of a picture that are coloured: a pixel's centre where it is uniform, else each of its samples.

    Attributes:
        pixels: the flat index of the pixel of each place, [K].
        weights: the share of the pixel that each colours, [K].
        x, y: the places in samples, [K].
        owners: the triangle seen there, [K].
    """

    pixels: NDArray[np.int64]
    weights: Values
    x: Values
    y: Values
    owners: NDArray[np.int64]


@dataclass(frozen=True)
class Surface:
    """The seen points of a character, K of them.

    Attributes:
        scene: the character.
        matrix: where the crop lies in the samples, [2, 3].
        size: width and height of the picture in pixels.
        visible: what is seen at its samples, ``SAMPLES`` per pixel in either direction.
        points: the places that are coloured.
        materials: the material of each, clothes told from skin, [K].
        normals: unit normals towards the viewer, [K, 3].
        channels: interpolated channels, [K, CHANNELS].
        inside: whether a part is seen from behind, such as the inside of hair, [K].
        ambient, lit: how much of the surroundings and of the key light reaches them, [K].
    """

    scene: Scene
    matrix: NDArray[np.float64]
    size: int
    visible: Visible
    points: Points
    materials: NDArray[np.int64]
    normals: Values
    channels: Values
    inside: NDArray[np.bool_]
    ambient: Values
    lit: Values
    light: Light
    palette: Palette

    @property
    def person(self) -> Person:
        return self.scene.figure.person

    @property
    def structure(self) -> float:
        return self.scene.figure.structure

    @property
    def scale(self) -> float:
        """The side of the face's crop in samples."""
        return float(np.hypot(*self.matrix[:, 0]))

    def where(self, material: Material) -> NDArray[np.int64]:
        """Return the numbers of the points of a material."""
        return np.flatnonzero(self.materials == material)

    def painted(self, paints: Mapping[Material, Paint]) -> Values:
        """Return the colour of each point by the paint of its material, [K, 3]."""
        colours = np.zeros((len(self.materials), 3), np.float32)
        for material, paint in paints.items():
            chosen = self.where(material)
            if len(chosen):
                colours[chosen] = paint(self, chosen)
        return colours

    def picture(self, background: Values, colours: Values) -> Values:
        """Return the colours [K, 3] over a background [size, size, 3]."""
        count, pixels, weights = self.size * self.size, self.points.pixels, self.points.weights
        bare = np.float32(1) - np.bincount(pixels, weights, count).astype(np.float32)
        out = background.reshape(-1, 3) * bare[:, None]
        for channel in range(3):
            out[:, channel] += np.bincount(pixels, weights * colours[:, channel], count)
        return np.asarray(out.reshape(background.shape), np.float32)

    def lips(self, chosen: NDArray[np.int64]) -> Values:
        """Return the share of lip of skin."""
        ring = self.channels[chosen, LIPS]
        return smoothstep(-ring, -LIP_END - 0.35, -LIP_END + 0.35) * smoothstep(ring, MOUTH_START - 1, MOUTH_START)

    def mouth(self, chosen: NDArray[np.int64]) -> Values:
        """Return how far skin lies inside the mouth."""
        return 1 - smoothstep(self.channels[chosen, LIPS], MOUTH_START - 2, MOUTH_START)

    def beard(self, chosen: NDArray[np.int64]) -> Values:
        """Return the share of beard of skin."""
        return np.asarray(self.channels[chosen, BEARD], np.float32)


Paint = Callable[[Surface, NDArray[np.int64]], Values]
"""Gives the colours of the chosen points [N] of a surface, [N, 3]."""


def surface_of(scene: Scene, matrix: NDArray[np.float64], size: int) -> Surface:
    """Find the seen points of a character; ``matrix`` [2, 3] places the crop's corners in samples."""
    screen = scene.screen(matrix)
    visible = scene.visible(screen, SAMPLES * size)
    points = _points(visible, scene.materials, size)
    values = np.concatenate([scene.normals, scene.channels], 1)
    values = interpolated(screen, scene.triangles, values, points.owners, points.x, points.y)
    inside = _turned_away(screen, scene.triangles)[points.owners]
    light = light_of(scene.figure.person)
    crop = float(np.hypot(*matrix[:, 0])) / SAMPLES
    ambient, lit = (shade.ravel()[points.pixels] for shade in openness(visible.depth, light, size, crop))
    return Surface(
        scene=scene,
        matrix=matrix,
        size=size,
        visible=visible,
        points=points,
        materials=_told_apart(scene.materials[points.owners], values[:, 3:]),
        normals=_towards_viewer(values[:, :3], inside),
        channels=values[:, 3:],
        inside=inside,
        ambient=ambient,
        lit=lit,
        light=light,
        palette=palette_of(scene.figure.person),
    )


def _told_apart(materials: NDArray[np.int64], channels: Values) -> NDArray[np.int64]:
    """Return the materials [K] with clothes told from skin, which are one mesh."""
    return np.where((materials == Material.SKIN) & (channels[:, CLOTH] > 0), np.int64(Material.CLOTH), materials)


def _towards_viewer(normals: Values, inside: NDArray[np.bool_]) -> Values:
    """Return unit normals [K, 3] of which none points away from the viewer; those seen from inside are turned round."""
    normals = normals * np.where(inside, np.float32(-1), np.float32(1))[:, None]
    normals[:, 2] = np.maximum(normals[:, 2], 0)
    normals /= np.sqrt(np.einsum("kc,kc->k", normals, normals))[:, None] + np.float32(1e-6)
    return normals


def _turned_away(screen: Values, triangles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which triangles are seen from behind, [T]."""
    a, b, c = (screen[triangles[:, corner]] for corner in range(3))
    # The corners of what faces the viewer go round counter-clockwise (``grid_quads``).
    return np.asarray(doubled_area(a, b, c) > 0)


def _points(visible: Visible, materials: NDArray[np.int64], size: int) -> Points:
    """Choose the places that are coloured: centres of pixels with one material and no step, and others' samples."""
    seen, blocks, near = _samples_of_pixels(visible, size)
    kinds = np.append(materials, -1)[blocks]
    alike = kinds[0] == kinds[1]
    low, high = near[0], near[0]
    for sample in range(1, SAMPLES**2):
        alike &= kinds[0] == kinds[sample]
        low, high = np.minimum(low, near[sample]), np.maximum(high, near[sample])
    simple = alike & (high - low < STEP) & ~np.isin(kinds[0], FINE)
    number, pixel = np.nonzero(~simple & (blocks >= 0))
    pixels = np.concatenate([seen[simple], seen[pixel]])
    middle = np.full(int(simple.sum()), SAMPLES / 2)
    y, x = np.divmod(pixels, size)
    x = SAMPLES * x + np.concatenate([middle, number % SAMPLES + 0.5])
    y = SAMPLES * y + np.concatenate([middle, number // SAMPLES + 0.5])
    weights = np.concatenate([np.ones(len(middle)), np.full(len(pixel), 1 / SAMPLES**2)])
    owners = np.concatenate([blocks[0, simple], blocks[number, pixel]])
    return Points(pixels, weights.astype(np.float32), x.astype(np.float32), y.astype(np.float32), owners)


def _samples_of_pixels(visible: Visible, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
    """Return the pixels in which something is seen, [N], and the triangles and depths of their samples, [S, N]."""
    columns = [np.s_[row::SAMPLES, column::SAMPLES] for row in range(SAMPLES) for column in range(SAMPLES)]
    owners = np.stack([visible.triangles[column].ravel() for column in columns])
    seen = np.flatnonzero(owners.max(0) >= 0)
    near = np.stack([visible.depth[column].ravel()[seen] for column in columns])
    return seen, owners[:, seen], near
