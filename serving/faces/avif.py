"""AVIF pictures, whose structure is read by the library that decodes them, libavif, through Pillow.

Nothing here bounds what it spends on a file that claims little and holds much: 3 kB that claim 64x64 pixels took 1.3 s
and 300 MB. Only a user's own files are read so, and nothing that comes over a network.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from engines.contract.arrays import Picture
from serving.faces.encoded_picture import EncodedPicture, UnreadableError
from serving.faces.exif import orientation_of

if TYPE_CHECKING:
    from PIL.AvifImagePlugin import AvifImageFile


def read_avif(data: bytes) -> EncodedPicture:
    """Read size, orientation and colour profile.

    Raises:
        UnreadableError: the file is damaged or animated.
    """
    with _opened(data) as image:
        if image.n_frames > 1:
            raise UnreadableError("an animated AVIF")
        # Pillow writes the orientation of the file's boxes, which alone counts, into the EXIF data.
        orientation = orientation_of(image.info.get("exif", b""))
        profile = image.info.get("icc_profile")
        channels = 1 if image.mode.startswith("L") else 3
        return EncodedPicture("AVIF", *image.size, channels, 1, data, orientation, (profile,) if profile else ())


def avif_pixels(picture: EncodedPicture) -> Picture:
    """Decode a picture that ``read_avif`` has read: uint8 [H, W, 3], RGB, not turned.

    Raises:
        UnreadableError: it is damaged.
    """
    with _opened(picture.data) as image:
        return np.array(image.convert("RGB"))


@contextmanager
def _opened(data: bytes) -> Iterator[AvifImageFile]:
    from PIL.AvifImagePlugin import AvifImageFile

    try:
        with AvifImageFile(io.BytesIO(data)) as image:
            yield image
    except (EOFError, LookupError, OSError, RuntimeError, SyntaxError, ValueError):
        raise UnreadableError("a damaged AVIF") from None
