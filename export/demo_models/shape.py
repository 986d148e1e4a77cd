"""Outlines of a drawn face's parts, computed from its traits, with a photograph's proportions or a cartoon's.

Coordinates are those of an FFHQ crop before it is fitted to the drawn landmarks: x to the right, y down, side 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from export.demo_models.canvas import Points, brush, closed_curve, ellipse, mirrored
from export.demo_models.traits import INDEX

CENTRE, HALF_AXES = (0.5, 0.53), (0.33, 0.46)
"""Centre and half axes of the ellipsoid that models a head turning by yaw and pitch."""


@dataclass(frozen=True)
class Shape:
    """The outlines of a face; ``side`` is -1 for the image-left part of a pair and 1 for the image-right one.

    Args:
        code: normalised traits, float32 [traits].
        structure: 0 = a photograph's proportions, 1 = a cartoon's: large eyes, small chin, nose and mouth.
    """

    code: NDArray[np.float32]
    structure: float

    def trait(self, name: str) -> float:
        """Return a trait, clamped to -2.5..2.5; most are within -2..2."""
        return float(np.clip(self.code[INDEX[name]], -2.5, 2.5))

    def has(self, attribute: str) -> bool:
        """Return whether an attribute is present."""
        return self.trait(attribute) > 0

    def between(self, photo: float, cartoon: float) -> float:
        """Interpolate a size between the two domains by ``structure``."""
        return photo + self.structure * (cartoon - photo)

    def turned(self, points: ArrayLike, depth: float = 1) -> Points:
        """Move points by yaw and pitch; ``depth`` 1 is the face's front, 0 the plane of the ears, -1 the back."""
        p = np.asarray(points, np.float64)
        away = ((p - CENTRE) / HALF_AXES) ** 2
        z = 0.15 * depth * np.sqrt(np.maximum(1 - away.sum(-1, keepdims=True), 0.05))
        angles = np.array([0.22 * self.trait("yaw"), 0.10 * self.trait("pitch")])
        turned: Points = p + z * np.sin(angles)
        return turned

    @property
    def half_width(self) -> float:
        return 0.238 + 0.011 * self.trait("face_width") + 0.006 * self.has("gender") + self.structure * 0.012

    @property
    def chin_y(self) -> float:
        return 0.893 + 0.014 * self.trait("face_length") + 0.008 * self.has("gender") - self.structure * 0.025

    @property
    def chin_half_width(self) -> float:
        """Half the width of the head a little above the chin's tip."""
        return (self.between(0.31, 0.15) + 0.03 * self.trait("chin") + 0.055 * self.has("gender")) * self.half_width

    @cached_property
    def head(self) -> Points:
        """The silhouette without hair and ears."""
        a = self.half_width
        jaw = self.between(0.78, 0.70) + 0.03 * self.trait("jaw") + 0.045 * self.has("gender")
        right = [
            (0.5, 0.15), (0.5 + 0.62 * a, 0.175), (0.5 + 0.95 * a, 0.29), (0.5 + 1.02 * a, 0.46),
            (0.5 + (0.97 + 0.03 * self.structure) * a, 0.62), (0.5 + jaw * a, 0.765),
            (0.5 + self.chin_half_width, self.chin_y - 0.022), (0.5, self.chin_y),
        ]  # fmt: skip
        return self.turned(mirrored(right), 0.15)

    @cached_property
    def eye_half_axes(self) -> tuple[float, float]:
        """Half the width and half the height of an open eye."""
        size = 1 + 0.10 * self.trait("eye_size")
        woman = 1 + 0.06 * (not self.has("gender"))
        return self.between(0.055, 0.074) * size, self.between(0.024, 0.064) * size * woman

    @property
    def eye_openness(self) -> float:
        """The degree to which the eyes are open: 0 = shut, 1 = open."""
        lid = self.trait("eye_opening")
        return float(np.clip(1.02 + (0.42 if lid < 0 else 0.06) * lid, 0.06, 1.15)) * (
            1 - 0.14 * self.has("expression")
        )

    def eye(self, side: int) -> tuple[float, float]:
        """Return the centre of an eye, before yaw and pitch."""
        return 0.5 + side * (0.121 + 0.008 * self.trait("eye_distance") + 0.006 * self.structure), 0.472

    def around_eye(self, side: int, outward_down: ArrayLike) -> Points:
        """Return points at offsets (outwards, down) from an eye's centre, with the eyes' tilt, after yaw and pitch."""
        p = np.asarray(outward_down, np.float64)
        tilt = 0.06 * self.trait("eye_tilt") + 0.05 * self.structure
        p = np.stack([side * p[..., 0], p[..., 1] - tilt * p[..., 0]], -1)
        return self.turned(p + self.eye(side))

    def eye_white(self, side: int) -> Points:
        """Return the outline of the open part of an eye."""
        w, h = self.eye_half_axes
        up, down = h * self.eye_openness, 0.85 * h * min(self.eye_openness, 1)
        lift = h * (1 - min(self.eye_openness, 1)) * 0.6  # a shut eye lies low
        return self.around_eye(side, closed_curve([
            (-w, 0.006 + lift), (-0.6 * w, lift - 0.78 * up), (0, lift - up), (0.62 * w, lift - 0.72 * up),
            (w, 0.002 + lift), (0.6 * w, lift + 0.66 * down), (0, lift + down), (-0.6 * w, lift + 0.72 * down),
        ]))  # fmt: skip

    def upper_lid(self, side: int, lift: float, width: float, reach: float = 1.0) -> Points:
        """Return a stroke along the upper edge of an eye, ``lift`` above it."""
        w, h = self.eye_half_axes
        up, low = h * self.eye_openness, h * (1 - min(self.eye_openness, 1)) * 0.6
        line = [(-w * reach, 0.004 + low), (-0.5 * w, low - 0.84 * up - lift), (0.1 * w, low - 1.0 * up - lift),
                (0.65 * w, low - 0.70 * up - lift), (1.10 * w * reach, low - 0.05 * up - lift * 0.5)]  # fmt: skip
        return self.around_eye(side, brush(line, width))

    def iris(self, side: int, scale: float = 1) -> Points:
        """Return the outline of the iris, or of a disc ``scale`` times its size."""
        radius = self.between(0.026, 0.048) * (1 + 0.05 * self.trait("eye_size")) * scale
        x = side * 0.0085 * self.trait("gaze")
        return self.around_eye(side, ellipse(x, 0.0, radius, radius * self.between(1, 1.12)))

    def brow(self, side: int) -> Points:
        """Return the outline of a brow."""
        man = self.has("gender")
        h = self.eye_half_axes[1]
        y = -0.036 - h - 0.008 * self.trait("brow_height") + 0.008 * man - 0.004 * self.has("expression")
        thick = max(0.020 + 0.0045 * self.trait("brow_thickness") + 0.008 * man, 0.010)
        arch = 0.012 - 0.006 * man
        line = [(-0.066, y + 0.010), (-0.02, y - arch), (0.035, y - arch - 0.004), (0.078, y + 0.014)]
        return self.around_eye(side, brush(line, thick))

    @property
    def nose_tip(self) -> tuple[float, float]:
        return 0.5, 0.612 + 0.010 * self.trait("nose_length") - self.structure * 0.012

    @property
    def nose_half_width(self) -> float:
        return (0.047 + 0.005 * self.trait("nose_width") + 0.004 * self.has("gender")) * self.between(1, 0.55)

    @property
    def smile(self) -> float:
        """The strength of the smile: 0 = none, about 1 = a usual smile."""
        return (0.85 + 0.22 * self.trait("smile_width")) * self.has("expression")

    @property
    def mouth_corner(self) -> tuple[float, float]:
        """Half the mouth's width, and the height of its corners."""
        half = (0.082 + 0.007 * self.trait("mouth_width") + 0.030 * self.smile) * self.between(1, 0.86)
        return half, 0.730 - 0.020 * self.smile + 0.003 - self.structure * 0.004

    @property
    def lip_gap(self) -> float:
        """Half the height of the open mouth."""
        teeth = self.has("expression") * np.clip(0.010 + 0.008 * self.trait("teeth"), 0, 0.03)
        return float(teeth + np.clip(0.011 * (self.trait("mouth_opening") - 0.4), 0, 0.025))

    def mouth(self) -> tuple[Points, Points, Points]:
        """Return the outlines of the upper lip, the lower lip, and the opening between them."""
        half, y = self.mouth_corner
        full = 1 + 0.22 * self.trait("lip_fullness") + 0.18 * (not self.has("gender"))
        gap, sag = self.lip_gap, 0.016 * self.smile
        middle = 0.738 + sag
        up, low = 0.017 * full * self.between(1, 0.7), 0.024 * full * self.between(1, 0.75)
        top, bottom = middle - gap, middle + gap * 1.3
        x = 0.5
        upper = [(x - half, y), (x - 0.45 * half, top - up + 0.003), (x - 0.14 * half, top - up * 1.15), (x, top - up),
                 (x + 0.14 * half, top - up * 1.15), (x + 0.45 * half, top - up + 0.003), (x + half, y),
                 (x + 0.5 * half, top + 0.002), (x, top + 0.004), (x - 0.5 * half, top + 0.002)]  # fmt: skip
        lower = [(x - half, y), (x - 0.5 * half, bottom - 0.004), (x, bottom - 0.002), (x + 0.5 * half, bottom - 0.004),
                 (x + half, y), (x + 0.55 * half, bottom + low * 0.7), (x, bottom + low),
                 (x - 0.55 * half, bottom + low * 0.7)]  # fmt: skip
        opening = [(x - 0.95 * half, y + 0.001), (x - 0.5 * half, top + 0.001), (x, top + 0.003),
                   (x + 0.5 * half, top + 0.001), (x + 0.95 * half, y + 0.001), (x + 0.5 * half, bottom - 0.002),
                   (x, bottom), (x - 0.5 * half, bottom - 0.002)]  # fmt: skip
        a, b, c = (self.turned(closed_curve(points), 1.05) for points in (upper, lower, opening))
        return a, b, c

    def mouth_line(self, width: float) -> Points:
        """Return a stroke where closed lips meet."""
        half, y = self.mouth_corner
        middle = 0.740 + 0.016 * self.smile - self.lip_gap
        line = [(0.5 - half - 0.004, y - 0.002), (0.5 - 0.5 * half, middle), (0.5, middle + 0.003),
                (0.5 + 0.5 * half, middle), (0.5 + half + 0.004, y - 0.002)]  # fmt: skip
        return self.turned(brush(line, width), 1.05)

    @property
    def hair_top(self) -> float:
        return 0.055 - 0.016 * self.trait("hair_volume") + 0.018 * self.has("gender") - 0.008 * self.structure

    @property
    def hair_length(self) -> float:
        """The length of the hair: 0 = to the ears, 1 = to the shoulders."""
        return float(np.clip(0.72 + 0.33 * self.trait("hair_length"), 0.12, 1.3)) * (not self.has("gender"))

    def hair_back(self) -> Points:
        """Return the outline of the hair behind the head and the neck."""
        a, top, length = self.half_width + 0.012 * self.trait("hair_volume"), self.hair_top, self.hair_length
        end = 0.50 + 0.42 * length
        flare = 0.05 + 0.045 * length + 0.012 * self.trait("hair_wave") * length
        if length == 0:
            right = [(0.5, top), (0.5 + 0.75 * a, top + 0.06), (0.5 + 1.1 * a, 0.26), (0.5 + 1.10 * a, 0.42),
                     (0.5 + 1.02 * a, 0.56), (0.5, 0.6)]  # fmt: skip
        else:
            right = [(0.5, top), (0.5 + 0.8 * a, top + 0.055), (0.5 + a + 0.055, 0.27), (0.5 + a + flare, 0.47),
                     (0.5 + a + flare + 0.01, 0.5 * (0.5 + end)), (0.5 + a + flare - 0.01, end),
                     (0.5 + 0.55 * a, end + 0.02), (0.5, end - 0.02)]  # fmt: skip
        return self.turned(mirrored(right), -0.6)

    def hair_front(self) -> Points:
        """Return the outline of the hair over the forehead, with the parting."""
        a, top = self.half_width + 0.008 * self.trait("hair_volume"), self.hair_top
        man, old = self.has("gender"), self.has("age")
        parting = 0.10 * np.clip(self.trait("parting"), -1.8, 1.8)
        line = 0.245 - 0.018 * man - 0.028 * (man and old)
        side = 0.47 if not man else 0.40
        left_low = 0.030 * np.clip(self.trait("parting"), 0, 2)  # the long side of the parting hangs lower
        right_low = 0.030 * np.clip(-self.trait("parting"), 0, 2)
        outline = [
            (0.5 - 1.06 * a, side), (0.5 - 1.13 * a, 0.30), (0.5 - 0.86 * a, top + 0.075),
            (0.5 - 0.40 * a, top + 0.012), (0.5 + 0.05 * a, top), (0.5 + 0.48 * a, top + 0.015),
            (0.5 + 0.90 * a, top + 0.085), (0.5 + 1.13 * a, 0.30), (0.5 + 1.06 * a, side), (0.5 + 0.95 * a, 0.355),
            (0.5 + 0.78 * a, line + 0.045 + right_low),
            (0.5 + 0.40 * a + 0.4 * parting, line + 0.012 + 0.6 * right_low), (0.5 + parting, line - 0.018),
            (0.5 - 0.40 * a + 0.4 * parting, line + 0.012 + 0.6 * left_low),
            (0.5 - 0.78 * a, line + 0.045 + left_low), (0.5 - 0.95 * a, 0.355),
        ]  # fmt: skip
        return self.turned(closed_curve(outline), 0.25)

    def ear(self, side: int, scale: float = 1) -> Points:
        x = 0.5 + side * (self.half_width * 1.0 + 0.012)
        return self.turned(ellipse(x, 0.515, 0.032 * scale, 0.066 * scale, -8 * side), 0)

    def glasses_rim(self, side: int, grow: float = 0) -> Points:
        """Return the outline of a lens of the glasses."""
        x, y = self.eye(side)
        size = (1 + 0.10 * self.trait("frame_size")) * self.between(1, 1.28)
        power = float(np.clip(2.9 + 1.1 * self.trait("frame_shape"), 2, 6))
        height = (0.066 - 0.007 * self.trait("frame_shape")) * size + grow
        return self.turned(
            ellipse(x + side * 0.006, y + 0.012, 0.088 * size * self.between(1, 0.92) + grow, height, 0, power), 1.2
        )

    def beard(self) -> Points:
        """Return the outline of the beard: cheeks, chin and upper lip."""
        a = self.half_width
        top = mirrored([(0.5, 0.66), (0.5 + 0.38 * a, 0.675), (0.5 + 0.72 * a, 0.66), (0.5 + 1.0 * a, 0.56),
                        (0.5 + 1.05 * a, 0.72), (0.5 + 0.7 * a, self.chin_y), (0.5, self.chin_y + 0.03)])  # fmt: skip
        return self.turned(top, 0.6)

    def neck(self) -> Points:
        half = 0.098 + 0.022 * self.has("gender")
        half *= self.between(1, 0.82)
        return mirrored([(0.5, 0.72), (0.5 + half, 0.74), (0.5 + half, 0.90), (0.5 + half + 0.05, 0.98), (0.5, 1.08)])

    def cloth(self) -> Points:
        wide = 0.06 * self.has("gender")
        return mirrored([(0.5, 1.035), (0.62, 0.955), (0.80 + wide, 0.995), (0.98 + wide, 1.08), (1.14 + wide, 1.40),
                         (1.2 + wide, 2.2), (0.5, 2.3)])  # fmt: skip

    def landmarks(self) -> Points:
        """Return the landmarks, [5, 2]: two eyes, nose, two mouth corners; the image-left one of each pair first."""
        half, y = self.mouth_corner
        eyes = [self.turned(self.eye(side)) for side in (-1, 1)]
        mouth = [self.turned((0.5 + side * half, y), 1.05) for side in (-1, 1)]
        return np.stack([*eyes, self.turned(self.nose_tip, 1.5), *mouth])
