"""What a drawn face is like: 46 traits, which are the coordinates of a generator's z.

A code is a point of the normal distribution on the sphere: z, divided by its root mean square, as StyleGAN's mapping
network sees it. So every z has its face, the trained generator can be told exactly which, and encoders, edits and
blends can be measured against what was drawn. Four coordinates carry an attribute by their sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import ISF_ATTRIBUTES

Codes = NDArray[np.float32]

ATTRIBUTE_MODES: dict[str, tuple[str, ...]] = {
    "gender": ("beard",),
    "glasses": ("frame_shape", "frame_size", "frame_colour"),
    "age": ("grey", "wrinkles"),
    "expression": ("teeth", "smile_width"),
}
"""How each attribute looks where it is present."""

_FACE = (
    "hair_volume", "parting", "hair_light", "hair_red", "hair_wave", "skin_light", "skin_warm", "face_width",
    "face_length", "jaw", "chin", "eye_size", "eye_distance", "eye_tilt", "iris", "brow_thickness", "brow_height",
    "nose_length", "nose_width", "mouth_width", "lip_fullness", "lip_colour",
)  # fmt: skip
IDENTITY = ("hair_length", *_FACE)
"""What stays where an attribute is edited."""

SCENE = (
    "yaw", "pitch", "light_side", "light_warmth", "background_hue", "background_light", "cloth_hue", "cloth_light",
    "eye_opening", "mouth_opening", "gaze",
)  # fmt: skip
"""Pose, light, surroundings and the moment."""

TRAITS = (
    *ISF_ATTRIBUTES, "beard", "hair_length", "frame_shape", "frame_size", "frame_colour", "grey", "wrinkles", "teeth",
    "smile_width", *_FACE, *SCENE,
)  # fmt: skip
"""In the order of z; the trained networks depend on it."""
INDEX = {name: index for index, name in enumerate(TRAITS)}
ATTRIBUTES = [INDEX[name] for name in ISF_ATTRIBUTES]
MODES = [INDEX[mode] for modes in ATTRIBUTE_MODES.values() for mode in modes]

CLEAR = 0.3
"""Attributes are kept this far from 0, where their sign would be a matter of rounding."""


def random_codes(count: int, seed: int) -> Codes:
    """Codes of ``count`` faces, normalised, float32 [N, traits]; every attribute is clearly present or absent."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((count, len(TRAITS)))
    attributes = codes[:, ATTRIBUTES]
    codes[:, ATTRIBUTES] = np.where(attributes < 0, -1, 1) * np.maximum(np.abs(attributes), CLEAR)
    return normalised(codes)


def normalised(codes: NDArray[np.floating[Any]]) -> Codes:
    """Codes divided by their root mean square."""
    return np.asarray(codes / np.sqrt(np.mean(codes**2, axis=-1, keepdims=True)), np.float32)


def attributes_of(codes: Codes) -> NDArray[np.float32]:
    """1 where an attribute is present, else 0, float32 [N, attributes] in the order of the ISF head."""
    return (codes[:, ATTRIBUTES] > 0).astype(np.float32)


def edited(codes: Codes, attributes: NDArray[np.float32], fresh: Codes) -> Codes:
    """The same faces with other attributes: what an ideal ISF head would do.

    The look of every attribute, such as the form of the frames, is that of ``fresh``; all else stays.

    Args:
        codes: [N, traits].
        attributes: targets, 0 or 1, [N, attributes].
        fresh: other codes, which only their attributes' strengths and modes are taken from, [N, traits].
    """
    out = codes.copy()
    out[:, ATTRIBUTES] = np.where(attributes > 0, 1, -1) * np.abs(fresh[:, ATTRIBUTES])
    out[:, MODES] = fresh[:, MODES]
    return normalised(out)
