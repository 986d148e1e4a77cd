"""Semantic interpolation, as in the ISF-GAN paper: pictures on the way from a face to its edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from serving.controls import Style
from serving.sheet import sheet_of
from serving.toonifier import Toonifier


def interpolated(
    toonifier: Toonifier, faces: Pictures, style: Style, steps: int
) -> tuple[Iterator[Pictures], Distances | None]:
    """Return the pictures of ``steps`` strengths of an edit, evenly from 0 (the faces themselves) to the style's own.

    The code at strength s is ``w + s * (F(w, z, d) - w)``. The faces are encoded once.

    Args:
        toonifier: computes the pictures.
        faces: aligned faces, uint8 [N, 256, 256, 3] RGB.
        style: the edit at its end; ``strength`` may be above 1, which goes beyond it.
        steps: the number of strengths, at least 2.

    Returns:
        The pictures, uint8 [N, R, R, 3] RGB for each strength, rendered when they are asked for, and how far out the
        faces' codes lay, as ``Toonifier.encode_with_distance`` tells it.

    Raises:
        RequestError: the model cannot make the edit.
    """
    w, distances = toonifier.encode_with_distance(faces)
    shown = toonifier.read_attributes(faces) if style.keeps else None
    return interpolated_codes(toonifier, w, style, steps, shown), distances


def interpolated_codes(
    toonifier: Toonifier, w: Codes, style: Style, steps: int, shown: AnyArray | None
) -> Iterator[Pictures]:
    """Yield the pictures of ``interpolated`` for codes, whose faces show the attributes ``shown``."""
    for strength in np.linspace(0, style.strength, steps).tolist():
        yield toonifier.render(w, replace(style, strength=strength), shown)


def sheets_of_steps(
    toonifier: Toonifier, faces: Pictures, style: Style, steps: int
) -> tuple[Pictures, Distances | None]:
    """Arrange the pictures of ``interpolated`` in a sheet for each face: uint8 [N, H, W, 3] RGB.

    Also returns how far out the faces' codes lay, [N].
    """
    by_strength, distances = interpolated(toonifier, faces, style, steps)
    return np.stack([sheet_of(pictures) for pictures in zip(*by_strength, strict=True)]), distances
