"""The 46 traits that define a rendered face; they are the coordinates of a generator's z.

A code is a normally distributed z divided by its root mean square, as in StyleGAN's mapping network. Every z therefore
has a known face, and generators, encoders, edits and blends can be measured against its rendering. The signs of four
coordinates state whether the face has an attribute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import ISF_ATTRIBUTES

TraitCodes = NDArray[np.float32]
"""Codes of faces, [..., traits]."""

ATTRIBUTE_MODES: dict[str, tuple[str, ...]] = {
    "gender": ("beard",),
    "glasses": ("frame_shape", "frame_size", "frame_colour"),
    "age": ("grey", "wrinkles"),
    "expression": ("teeth", "smile_width"),
}
"""The traits that determine how each attribute looks if it is present."""

_FACE = (
    "hair_volume", "parting", "hair_light", "hair_red", "hair_wave", "skin_light", "skin_warm", "face_width",
    "face_length", "jaw", "chin", "eye_size", "eye_distance", "eye_tilt", "iris", "brow_thickness", "brow_height",
    "nose_length", "nose_width", "mouth_width", "lip_fullness", "lip_colour",
)  # fmt: skip
IDENTITY = ("hair_length", *_FACE)
"""The traits of a person that an edit of an attribute keeps."""

SCENE = (
    "yaw", "pitch", "light_side", "light_warmth", "background_hue", "background_light", "cloth_hue", "cloth_light",
    "eye_opening", "mouth_opening", "gaze",
)  # fmt: skip
"""The traits of a picture: pose, light, surroundings and momentary expression."""

TRAITS = (
    *ISF_ATTRIBUTES, "beard", "hair_length", "frame_shape", "frame_size", "frame_colour", "grey", "wrinkles", "teeth",
    "smile_width", *_FACE, *SCENE,
)  # fmt: skip
"""All traits in the order of z, on which the trained networks depend."""
INDEX = {name: index for index, name in enumerate(TRAITS)}
ATTRIBUTES = [INDEX[name] for name in ISF_ATTRIBUTES]
MODES = [INDEX[mode] for modes in ATTRIBUTE_MODES.values() for mode in modes]

MIN_STRENGTH = 0.3
"""The least absolute value of an attribute before normalisation, so that its sign is unambiguous."""


def random_codes(count: int, seed: int) -> TraitCodes:
    """Draw normalised codes, float32 [count, traits], in which every attribute is clearly present or absent."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((count, len(TRAITS)))
    attributes = codes[:, ATTRIBUTES]
    codes[:, ATTRIBUTES] = np.where(attributes < 0, -1, 1) * np.maximum(np.abs(attributes), MIN_STRENGTH)
    return normalised(codes)


def normalised(codes: NDArray[np.floating[Any]]) -> TraitCodes:
    """Return codes [..., traits] divided by their root mean square."""
    return np.asarray(codes / np.sqrt(np.mean(codes**2, axis=-1, keepdims=True)), np.float32)


def attributes_of(codes: TraitCodes) -> NDArray[np.float32]:
    """Return 1 for present attributes and 0 for others, float32 [N, attributes] in the order of the ISF head."""
    return (codes[:, ATTRIBUTES] > 0).astype(np.float32)


def edited(codes: TraitCodes, attributes: NDArray[np.float32], appearance: TraitCodes) -> TraitCodes:
    """Return the same faces with other attributes, as an ideal ISF head would.

    The appearance of an attribute that changes, such as the shape of the frames, is taken from ``appearance``. An
    attribute that stays keeps its appearance, and all other traits are kept.

    Args:
        codes: the faces, [N, traits].
        attributes: target attributes, 0 or 1, [N, attributes].
        appearance: codes of which only the attributes' strengths and modes are used, [N, traits].
    """
    changes = attributes != attributes_of(codes)
    target = np.where(attributes > 0, 1, -1) * np.abs(appearance[:, ATTRIBUTES])
    out = codes.copy()
    out[:, ATTRIBUTES] = np.where(changes, target, codes[:, ATTRIBUTES])
    modes = np.repeat(changes, [len(modes) for modes in ATTRIBUTE_MODES.values()], axis=1)
    out[:, MODES] = np.where(modes, appearance[:, MODES], codes[:, MODES])
    return normalised(out)
