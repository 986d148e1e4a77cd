"""The orientation in EXIF data, which every format holds in the same form (JEITA CP-3451, TIFF 6.0)."""

from __future__ import annotations

import struct

import numpy as np

from engines.contract.arrays import Picture

EXIF_SIGNATURE = b"Exif\0\0"
"""What a JPEG's segment of EXIF data begins with; some programs write it into WebPs too."""

_ORIENTATION, _SHORT = 0x0112, 3


def orientation_of(exif: bytes) -> int:
    """Return the orientation, 1 to 8; it is 1, upright, where the data say nothing that can be understood."""
    tiff = exif.removeprefix(EXIF_SIGNATURE)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turned_upright(picture: Picture, orientation: int) -> Picture:
    """Return a picture, uint8 [H, W, 3], as it is to be seen; from orientation 5 on its sides are exchanged."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)
