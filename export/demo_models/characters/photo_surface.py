"""The photograph's surface: soft light that wraps round skin and reddens in it, gloss, and a wall out of focus."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from export.demo_models.characters.body import ACROSS, FORTH, LIDS, LIPS, UP
from export.demo_models.characters.colours import Colour, Palette
from export.demo_models.characters.hair import LOCKS
from export.demo_models.characters.parts import Material
from export.demo_models.characters.person import smoothstep
from export.demo_models.characters.rasteriser import Values
from export.demo_models.characters.scene import WORN
from export.demo_models.characters.surface import SAMPLES, Paint, Surface

WRAP_SKIN = np.array([0.55, 0.30, 0.22], np.float32)
"""How far light wraps round skin in each colour: red light travels farthest in it."""
FLUSHED, SOCKET = np.array([1.01, 0.80, 0.78], np.float32), np.array([0.88, 0.80, 0.79], np.float32)
LID_EDGE, FOLD = np.array([0.72, 0.52, 0.48], np.float32), np.array([0.80, 0.69, 0.65], np.float32)
NOSTRIL, SEAM = np.array([0.42, 0.28, 0.26], np.float32), np.array([0.45, 0.28, 0.28], np.float32)
"""Factors of the skin's colour: on cheeks, round the eyes, at the lids' edges, in folds, nostrils and between lips."""
MOUTH = np.array([0.30, 0.09, 0.10], np.float32)
"""The colour of the mouth's inside."""
WRAP = np.array([0.25, 0.25, 0.25], np.float32)
KEY, SKY, GROUND = 1.08, np.array([0.28, 0.30, 0.34], np.float32), np.array([0.19, 0.15, 0.14], np.float32)
"""The brightness of the key light, and the colours of the light from above and from below."""
EXPOSURE = np.float32(1.75)
BACK = 0.22
"""The brightness of the light from behind, which shows at the edges."""


def photo_picture(surface: Surface, background: Values | None = None) -> Values:
    """Colour a character as a photograph before a background or a wall, RGB in 0..1, [size, size, 3]."""
    wall = _wall(surface) if background is None else background
    picture = surface.picture(wall, _exposed(surface.painted(PAINTS)))
    return _with_lenses(surface, picture)


def _exposed(linear: Values) -> Values:
    """Return colours as a camera records them: bright ones are compressed, with their hue kept."""
    linear = np.maximum(linear, np.float32(1e-6))
    brightest = np.maximum(np.maximum(linear[:, 0], linear[:, 1]), linear[:, 2])
    scale = (1 - np.exp(-EXPOSURE * brightest)) / brightest
    return np.asarray(np.sqrt(np.minimum(linear * scale[:, None], 1)), np.float32)


def _lit(
    surface: Surface, chosen: NDArray[np.int64], albedo: Values, wrap: Values, gloss: float = 0, sharpness: float = 20
) -> Values:
    """Return the light from points of a colour (as seen, not linear), linear, [N, 3]."""
    normals, light, lit = surface.normals[chosen], surface.light, surface.lit[chosen]
    facing, up, rim = normals @ light.key, 0.5 + 0.5 * normals[:, 1], 1 - normals[:, 2]
    edge = rim * rim * rim * (0.5 + 0.5 * up) * BACK
    ambient = surface.ambient[chosen]
    shine = np.float32(0)
    if gloss:
        half = light.key + np.array([0, 0, 1], np.float32)
        half /= np.linalg.norm(half)
        # cos(angle) ** sharpness, by a function that NumPy computes faster.
        shine = gloss * np.exp(np.float32(sharpness) * (normals @ half - 1)) * lit * ambient
    reached = KEY * (0.25 + 0.75 * lit)
    out = np.empty_like(albedo)
    # One colour after the other, since NumPy is slow where arrays' last axis is short.
    for channel in range(3):
        diffuse = np.maximum(facing + wrap[channel], 0) * reached * (light.tint[channel] / (1 + wrap[channel]))
        around = (GROUND[channel] + up * (SKY[channel] - GROUND[channel])) * ambient + edge
        own = albedo[:, channel]
        out[:, channel] = own * own * (diffuse + around) + shine * light.tint[channel]
    return out


def _skin(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    channels, palette = surface.channels[chosen], surface.palette
    lips, mouth = surface.lips(chosen)[:, None], surface.mouth(chosen)[:, None]
    albedo = _complexion(surface, channels)
    density = min(1.0, 0.25 + 1.2 * surface.person.growth) * (1 - 0.7 * surface.person.variation.stubble)
    beard = smoothstep(surface.beard(chosen), 0.08, 0.62)[:, None] * np.float32(density)
    albedo += beard * (palette.brow * np.float32(0.92) - albedo)
    albedo += lips * (palette.lips - albedo)
    _tint(albedo, SEAM, 0.8 * _bump(channels[:, LIPS] / 0.8))
    albedo += mouth * (MOUTH - albedo)
    out = _lit(surface, chosen, albedo, WRAP_SKIN, 0.055, 14)
    ridge = _bump(channels[:, ACROSS] / 0.10, (channels[:, UP] + 0.30) / 0.22)[:, None]
    gloss = _lit(surface, chosen, np.zeros_like(albedo), WRAP, 0.16, 50)
    out += (lips + 0.25 * ridge) * (1 - mouth) * gloss
    return np.asarray(out * (1 - 0.75 * mouth), np.float32)


def _complexion(surface: Surface, channels: Values) -> Values:
    """Return the skin's own colours, [N, 3]: flushed cheeks, darker lids and nostrils, lines of age."""
    person = surface.person
    albedo = np.broadcast_to(surface.palette.skin, (len(channels), 3)).copy()
    x, y, lids = np.abs(channels[:, ACROSS]), channels[:, UP], channels[:, LIDS]
    front = smoothstep(channels[:, FORTH], -0.55, -0.25)
    cheeks, tip = _bump((x - 0.40) / 0.20, (y + 0.40) / 0.17), _bump(x / 0.12, (y + 0.38) / 0.12)
    flush = (0.62 + 0.25 * person.has("expression")) * (1 - 0.4 * person.has("gender"))
    _tint(albedo, FLUSHED, flush * (cheeks + 0.7 * tip + 0.7 * smoothstep(x, 0.72, 0.86)))
    _tint(albedo, SOCKET, 0.75 * front * _bump((x - 0.30) / 0.17, (y - 0.03) / 0.12))
    _tint(albedo, LID_EDGE, 0.7 * _bump(lids / 0.9))
    _tint(albedo, FOLD, 0.75 * _bump((lids - 4.2) / 0.8) * (y > 0.0))
    _tint(albedo, NOSTRIL, 0.9 * front * _bump((x - 0.075) / 0.040, (y + 0.462) / 0.026))
    if person.has("age") > 0.01:
        _tint(albedo, FOLD, wrinkles(surface, channels[:, ACROSS], y, front))
    return albedo


def _bump(*distances: Values) -> Values:
    """Return a Gaussian bump of 1 where all distances are 0."""
    total: Values = distances[0] * distances[0]
    for distance in distances[1:]:
        total = total + distance * distance
    return np.asarray(np.exp(-total), np.float32)


def _tint(albedo: Values, factor: Colour, amount: Values) -> None:
    """Multiply colours by a factor to an extent [N], in place."""
    amount = np.clip(amount, 0, 1)
    for channel in range(3):
        albedo[:, channel] *= 1 + amount * (factor[channel] - 1)


def wrinkles(surface: Surface, x: Values, y: Values, front: Values) -> Values:
    """Return how deep the lines of forehead and eyes are at places on the mean head, [N]."""
    person = surface.person
    strength = person.has("age") * (0.62 + 0.2 * person.trait("wrinkles"))
    lines = np.zeros_like(x)
    for height in (0.40, 0.50, 0.60):
        arch = y - height + 0.10 * x**2 + 0.012 * np.cos(9 * x)
        lines += np.exp(-((arch / 0.013) ** 2)) * np.exp(-((x / 0.36) ** 4))
    for slope in (-0.35, 0.05, 0.45):
        across = np.abs(x) - 0.47
        lines += (
            0.35
            * np.exp(-(((y + 0.01 + slope * across) / 0.010) ** 2))
            * smoothstep(across, 0, 0.05)
            * smoothstep(-across, -0.17, -0.10)
        )
    return np.asarray(0.85 * strength * lines * front, np.float32)


def _eye(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    a, b, _ = surface.channels[chosen][:, :3].T
    radius = np.hypot(a, b)
    size = iris_size(surface)
    albedo = np.broadcast_to(np.array([0.93, 0.915, 0.90], np.float32), (len(chosen), 3)).copy()
    albedo *= (1 - 0.16 * smoothstep(radius, 0.55, 1.0))[:, None] * np.array([1, 0.97, 0.95], np.float32)
    iris = (1 - smoothstep(radius, size - 0.04, size + 0.04))[:, None]
    depth = smoothstep(radius / size, 0.55, 1.0)[:, None]
    glow = (0.30 * smoothstep(-b / size, -0.3, 0.9) * smoothstep(radius / size, 0.35, 0.6))[:, None]
    tone = surface.palette.iris * (1.02 - 0.55 * depth) + glow * (surface.palette.iris + 0.25)
    albedo += iris * (tone - albedo)
    pupil = (1 - smoothstep(radius, 0.42 * size - 0.03, 0.42 * size + 0.03))[:, None]
    albedo += pupil * (np.array([0.05, 0.04, 0.045], np.float32) - albedo)
    shade = 1 - 0.50 * smoothstep(b, 0.05, 0.72)
    lit = _lit(surface, chosen, albedo, np.array([0.6, 0.55, 0.5], np.float32))
    out = lit * shade[:, None] * 1.05
    side = np.tanh(surface.person.trait("light_side"))
    spot = np.hypot(a - 0.17 * side - 0.02, b - 0.20)
    out += (0.95 * (1 - smoothstep(spot, 0.075, 0.13)))[:, None]
    return np.asarray(out, np.float32)


def iris_size(surface: Surface) -> float:
    """Return the iris's radius on an eyeball of radius 1."""
    return 0.56 + 0.07 * surface.structure


def _hair(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    around, along = surface.channels[chosen][:, 0], surface.channels[chosen][:, 1]
    locks = np.cos(LOCKS * around + 1.5 * along) * smoothstep(along, 0.1, 0.4)
    albedo = surface.palette.hair * (0.96 + 0.07 * locks + 0.10 * (along - 0.5))[:, None]
    albedo *= np.where(surface.inside[chosen], np.float32(0.55), np.float32(1))[:, None]
    out = _lit(surface, chosen, albedo.astype(np.float32), np.array([0.35, 0.32, 0.30], np.float32))
    normals, key = surface.normals[chosen], surface.light.key + np.array([0, 0, 1], np.float32)
    key = key / np.linalg.norm(key)
    level = np.sqrt(normals[:, 1] ** 2 + normals[:, 2] ** 2) + 1e-6
    band = (normals[:, 1] * key[1] + normals[:, 2] * key[2]) / (level * np.hypot(key[1], key[2]))
    facing = np.maximum(normals @ key, 0)
    side = 0.35 + 0.65 * facing * facing * facing
    shine = np.exp(36 * (band - 1)) * side * (0.8 + 0.2 * locks) * surface.lit[chosen] * ~surface.inside[chosen]
    sheen = 0.30 * (0.55 * surface.palette.hair + 0.45)
    return np.asarray(out + shine[:, None] * sheen, np.float32)


def _teeth(surface: Surface, chosen: NDArray[np.int64]) -> Values:
    across = surface.channels[chosen][:, 0]
    albedo = np.array([0.95, 0.93, 0.89], np.float32) * (1 - 0.42 * across**2)[:, None]
    bright = 0.42 + 0.30 * surface.ambient[chosen][:, None]
    return np.asarray(albedo * albedo * bright, np.float32)


def _plain(colour_of: Callable[[Palette], Colour], gloss: float, sharpness: float) -> Paint:
    def paint(surface: Surface, chosen: NDArray[np.int64]) -> Values:
        albedo = np.broadcast_to(colour_of(surface.palette), (len(chosen), 3)).astype(np.float32)
        return _lit(surface, chosen, albedo, WRAP, gloss, sharpness)

    return paint


def _fixed(rgb: tuple[float, float, float], gloss: float) -> Paint:
    def paint(surface: Surface, chosen: NDArray[np.int64]) -> Values:
        albedo = np.broadcast_to(np.array(rgb, np.float32), (len(chosen), 3))
        return _lit(surface, chosen, albedo, WRAP, gloss, 30)

    return paint


PAINTS = {
    Material.SKIN: _skin,
    Material.CLOTH: _plain(lambda palette: palette.cloth, 0.02, 8),
    Material.TEETH: _teeth,
    Material.LASH: _fixed((0.10, 0.07, 0.07), 0),
    Material.EYE: _eye,
    Material.BROW: _plain(lambda palette: palette.brow, 0.02, 12),
    Material.HAIR: _hair,
    Material.FRAME: _plain(lambda palette: palette.frame, 0.35, 40),
}
"""The paint of each material: light that leaves its points, linear."""


@cache
def places(side: int) -> tuple[Values, Values]:
    """Return y and x of every pixel as fractions of the picture, [side, side]; shared, not to be changed."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    return y, x


def _wall(surface: Surface) -> Values:
    """Return a wall out of focus, lighter round the head, [side, side, 3]."""
    side = surface.size
    y, x = places(side)
    person = surface.person
    glow = np.exp(-(((x - 0.5 - 0.10 * np.tanh(person.trait("light_side"))) / 0.55) ** 2 + ((y - 0.42) / 0.6) ** 2))
    value = 0.80 + 0.24 * glow - 0.10 * y
    return np.asarray(surface.palette.background * value[..., None] * np.sqrt(surface.light.tint), np.float32)


def _with_lenses(surface: Surface, picture: Values) -> Values:
    """Lay the glasses' lenses over a picture: a faint bluish reflection."""
    strength = surface.person.has("glasses")
    if strength < WORN:
        return picture
    side = SAMPLES * surface.size
    drawn = np.zeros((side, side), np.uint8)
    for outline in surface.scene.lenses(surface.matrix):
        cv2.fillPoly(drawn, [np.rint(outline * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    cover = cv2.resize(drawn, (surface.size, surface.size), interpolation=cv2.INTER_AREA)
    y = np.linspace(0, 1, surface.size, dtype=np.float32)[:, None, None]
    amount = cover[..., None].astype(np.float32) / 255 * (0.10 + 0.05 * np.cos(14 * y)) * strength
    return np.asarray(picture + amount * (np.array([0.86, 0.93, 1.0], np.float32) - picture), np.float32)
