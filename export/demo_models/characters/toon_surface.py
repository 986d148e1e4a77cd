"""The cartoon's surface: flat colours with one shade, a band of light on the hair, and dark outlines."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.body import ACROSS, FORTH, LIDS, LIPS, UP
from export.demo_models.characters.colours import Colour, Palette
from export.demo_models.characters.parts import Material
from export.demo_models.characters.person import smoothstep
from export.demo_models.characters.photo_surface import iris_size, places, wrinkles
from export.demo_models.characters.rasteriser import FAR, Values
from export.demo_models.characters.surface import SAMPLES, Paint, Surface

INK = np.array([0.16, 0.09, 0.11], np.float32)
LINE = 0.0085
"""The width of outlines as a fraction of the crop."""
BROAD = 0.016
"""The radius over which normals are smoothed for shades, as a fraction of the crop."""
MOUTH_EDGE = 2.0
"""The ring round the mouth inside of which nothing is outlined."""
SPECK = 0.035
"""The length, as a fraction of the crop, under which an outline is left out."""
STEP, HAIR_STEP = 0.13, 0.40
"""The least steps in depth, in decimetres, that are outlined, and those within hair."""


def toon_picture(surface: Surface, background: Values | None = None) -> Values:
    """Colour a character as a cartoon before a background or a wall, RGB in 0..1, [size, size, 3]."""
    colours = surface.painted(PAINTS)
    tint = np.sqrt(surface.light.tint)
    wall = _backdrop(surface) * tint if background is None else background
    return _outlined(surface, surface.picture(wall, np.clip(colours * tint, 0, 1)))


def vivid(colour: Colour, saturation: float = 1.25, value: float = 1.08) -> Colour:
    """Return a colour with more saturation and value."""
    grey = colour @ np.array([0.3, 0.59, 0.11], np.float32)
    return np.clip((grey + saturation * (colour - grey)) * value, 0, 1).astype(np.float32)


def _banded(surface: Surface, chosen: NDArray[np.int64], colours: Values, shade: Colour, level: float = 0.30) -> Values:
    """Shade colours [N, 3] where the light does not reach, with a sharp edge."""
    facing = _broad_normals(surface, chosen) @ surface.light.key
    reach = facing * (0.40 + 0.60 * surface.lit[chosen])
    dark = 1 - smoothstep(reach, level - 0.045, level + 0.045)
    return np.asarray(colours * (1 + dark[:, None] * (shade - 1)), np.float32)


def _broad_normals(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    """Return normals smoothed over the neighbouring points, so that shades have simple shapes, [N, 3]."""
    size, pixels = surface.size, surface.points.pixels[chosen]
    field = np.zeros((size * size, 4), np.float32)
    field[pixels, :3], field[pixels, 3] = surface.normals[chosen], 1
    half = cv2.resize(field.reshape(size, size, 4), (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(
        cv2.GaussianBlur(half, (0, 0), BROAD * surface.scale / SAMPLES / 2),
        (size, size),
        interpolation=cv2.INTER_LINEAR,
    )
    broad = soft.reshape(-1, 4)[pixels]
    return np.asarray(broad[:, :3] / (broad[:, 3:] + np.float32(1e-6)), np.float32)


SHADE = np.array([0.80, 0.70, 0.74], np.float32)


def _skin(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    channels, skin = surface.channels[chosen], vivid(surface.palette.skin, 1.22, 1.06)
    out = _banded(surface, chosen, _complexion(surface, chosen, skin), SHADE)
    seam = 1 - smoothstep(channels[:, LIPS], 0.6, 1.1)
    crease = (1 - smoothstep(np.abs(channels[:, LIDS] - 4.4), 0.25, 0.6)) * (channels[:, UP] > 0.01)
    _blend(out, seam, INK)
    _blend(out, crease * np.float32(0.6), skin * np.array([0.55, 0.40, 0.40], np.float32))
    _blend(out, np.float32(0.8) * _nose_line(channels), skin * np.array([0.50, 0.34, 0.34], np.float32))
    if surface.person.has("age") > 0.01:
        front = smoothstep(channels[:, FORTH], -0.55, -0.25)
        lines = smoothstep(wrinkles(surface, channels[:, ACROSS], channels[:, UP], front), 0.12, 0.30)
        _blend(out, np.float32(0.75) * lines, skin * np.array([0.60, 0.44, 0.42], np.float32))
    _blend(out, smoothstep(surface.mouth(chosen), 0.3, 0.7), np.array([0.34, 0.09, 0.12], np.float32))
    return out


def _complexion(surface: Surface, chosen: NDArray[np.int64], skin: Colour) -> Values:
    """Return the skin's flat colours, [N, 3]: blush, beard and lips."""
    person, channels = surface.person, surface.channels[chosen]
    colours = np.broadcast_to(skin, (len(chosen), 3)).copy()
    cheeks = np.hypot((np.abs(channels[:, ACROSS]) - 0.42) / 0.17, (channels[:, UP] + 0.42) / 0.10)
    blush = (1 - smoothstep(cheeks, 0.85, 1.1)) * (0.55 - 0.25 * person.has("gender"))
    _blend(colours, blush, skin * np.array([1.02, 0.78, 0.76], np.float32))
    full = min(1.0, 0.30 + 1.1 * person.growth) * person.has("gender")
    _blend(colours, smoothstep(surface.beard(chosen), 0.30, 0.38) * full, vivid(surface.palette.brow))
    _blend(colours, smoothstep(surface.lips(chosen), 0.35, 0.65), vivid(surface.palette.lips, 1.3))
    return colours


def _nose_line(channels: Values) -> Values:
    """Return how far points lie on the line under the nose's tip, [N] in 0..1."""
    under = channels[:, UP] + 0.512 - 1.6 * channels[:, ACROSS] ** 2
    line = (1 - smoothstep(np.abs(under), 0.012, 0.024)) * (1 - smoothstep(np.abs(channels[:, ACROSS]), 0.06, 0.10))
    return np.asarray(line * (channels[:, FORTH] > 0), np.float32)


def _blend(colours: Values, amount: Values, colour: Colour) -> None:
    """Move colours [N, 3] towards one colour, to an extent [N] in 0..1, in place."""
    colours += amount[:, None] * (colour - colours)


def _eye(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    a, b, _ = surface.channels[chosen][:, :3].T
    size = iris_size(surface)
    radius = np.hypot(a, b) / size
    iris = vivid(surface.palette.iris, 1.35, 1.25)
    colours = np.ones((len(chosen), 3), np.float32)
    _blend(colours, smoothstep(b, 0.36, 0.44), np.array([0.80, 0.82, 0.90], np.float32))
    for edge, tone in ((1.0, iris * np.float32(0.45)), (0.86, iris)):
        _blend(colours, 1 - smoothstep(radius, edge - 0.05, edge + 0.05), tone)
    light = 1 - smoothstep(np.hypot(a, b + 0.26 * size / 0.6) / size, 0.45, 0.60)
    _blend(colours, 0.45 * light * (1 - smoothstep(radius, 0.78, 0.88)), np.minimum(iris * 1.5, 1))
    _blend(colours, 1 - smoothstep(radius, 0.40, 0.50), INK * np.float32(0.7))
    side = np.tanh(surface.person.trait("light_side"))
    for x, y, reach in ((0.20 * side + 0.02, 0.23, 0.15), (-0.20 * side - 0.02, -0.22, 0.075)):
        _blend(colours, 1 - smoothstep(np.hypot(a - x, b - y), reach - 0.03, reach + 0.03), np.ones(3, np.float32))
    return colours


def _hair(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    hair = vivid(surface.palette.hair, 1.3, 1.12)
    out = _banded(
        surface, chosen, np.broadcast_to(hair, (len(chosen), 3)), np.array([0.66, 0.60, 0.68], np.float32), 0.34
    )
    normals = surface.normals[chosen]
    around, along = surface.channels[chosen][:, 0], surface.channels[chosen][:, 1]
    height = 0.60 + 0.05 * np.cos(9 * around)
    band = (1 - smoothstep(np.abs(normals[:, 1] - height), 0.075, 0.10)) * smoothstep(
        normals @ surface.light.key, 0.50, 0.58
    )
    out += (0.55 * band * (along > 0.1))[:, None] * (np.minimum(hair * 1.25 + 0.16, 1) - out)
    inside = surface.inside[chosen]
    out[inside] = hair * np.float32(0.60)
    return out


def _plain(colour_of: Callable[[Palette], Colour], factor: float = 1) -> Paint:
    def paint(surface: Surface, chosen: NDArray[np.int64]) -> Values:
        colour = vivid(colour_of(surface.palette)) * np.float32(factor)
        return _banded(surface, chosen, np.broadcast_to(colour, (len(chosen), 3)), SHADE)

    return paint


def _fixed(rgb: tuple[float, float, float]) -> Paint:
    def paint(surface: Surface, chosen: NDArray[np.int64]) -> Values:
        return np.broadcast_to(np.array(rgb, np.float32), (len(chosen), 3))

    return paint


PAINTS = {
    Material.SKIN: _skin,
    Material.CLOTH: _plain(lambda palette: palette.cloth),
    Material.TEETH: _fixed((1.0, 0.99, 0.96)),
    Material.LASH: _fixed((0.13, 0.07, 0.09)),
    Material.EYE: _eye,
    Material.BROW: _plain(lambda palette: palette.brow, 0.85),
    Material.HAIR: _hair,
    Material.FRAME: _plain(lambda palette: palette.frame),
}
"""The paint of each material: colours as they are seen."""


def _backdrop(surface: Surface) -> Values:
    """Return a plain wall with a lighter disc, [side, side, 3]."""
    side = surface.size
    wall = vivid(surface.palette.background, 1.35, 1.02)
    y, x = places(side)
    disc = 1 - smoothstep(np.hypot(x - 0.5, y - 0.5), 0.44, 0.445)
    return np.asarray(wall * (1 + 0.08 * disc[..., None]), np.float32)


GROUPS = {Material.CLOTH: 1, Material.EYE: 2, Material.HAIR: 3, Material.FRAME: 4}
"""Materials between which outlines run; all others count as skin."""


def _without_specks(edge: NDArray[np.uint8], least: float) -> NDArray[np.uint8]:
    """Remove lines that are shorter than ``least`` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(edge, connectivity=8)
    kept = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= least
    kept[0] = False
    return np.asarray(kept[labels], np.uint8)


def _samples(surface: Surface, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 1 at the samples of pixels that have a chosen point, [side, side]."""
    size = surface.size
    pixels = np.zeros(size * size, np.uint8)
    pixels[surface.points.pixels[chosen]] = 1
    wide = cv2.resize(pixels.reshape(size, size), (SAMPLES * size, SAMPLES * size), interpolation=cv2.INTER_NEAREST)
    return np.asarray(wide, np.uint8)


def _groups(surface: Surface) -> NDArray[np.uint8]:
    """Return the group of materials of each sample; clothes are told from skin by the nearest coloured point."""
    owners = surface.visible.triangles
    table = np.array([GROUPS.get(material, 0) for material in Material], np.uint8)
    groups = np.where(owners >= 0, table[surface.scene.materials[owners]], np.uint8(9))
    wide = _samples(surface, surface.materials == Material.CLOTH)
    groups[(groups == 0) & (wide > 0)] = GROUPS[Material.CLOTH]
    return groups


def _outlined(surface: Surface, picture: Values) -> Values:
    """Draw lines where groups of materials meet and where depth jumps."""
    scale = surface.scale
    groups = _groups(surface)
    depth = np.where(surface.visible.depth > FAR / 2, surface.visible.depth, np.float32(-3))
    edge = np.zeros(groups.shape, np.uint8)
    for axis in (0, 1):
        here = np.s_[:-1, :] if axis == 0 else np.s_[:, :-1]
        least = np.where(groups[here] == GROUPS[Material.HAIR], np.float32(HAIR_STEP), np.float32(STEP))
        step = (np.diff(groups, axis=axis) != 0) | (np.abs(np.diff(depth, axis=axis)) > least)
        edge[here] |= step.astype(np.uint8)
    inside = (surface.materials == Material.TEETH) | (
        (surface.materials == Material.SKIN) & (surface.channels[:, LIPS] < MOUTH_EDGE)
    )
    # Lips and teeth are a few pixels, whose own lines would be blots.
    mouth = cv2.dilate(_samples(surface, inside), np.ones((3, 3), np.uint8))
    edge = _without_specks(edge * (1 - mouth), SPECK * scale)
    width = LINE * scale
    reach = max(round(width), 1) | 1
    thick = cv2.dilate(edge, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    soft = np.asarray(cv2.GaussianBlur(thick.astype(np.float32), (0, 0), 1.0), np.float32)
    small = cv2.resize(smoothstep(soft, 0.25, 0.75), (surface.size, surface.size), interpolation=cv2.INTER_AREA)
    amount = small[..., None]
    return np.asarray(picture + amount * (INK - picture), np.float32)
