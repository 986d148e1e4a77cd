"""Decoding of untrusted pictures by OpenCV, in bounded memory and time."""

from __future__ import annotations

import cv2
import numpy as np

from engines.contract.arrays import Picture
from serving.faces.encoded import EncodedPicture, UnreadableError

MAX_SCANS = 100
"""Largest number of scans of a JPEG. Progressive ones have about 10, with four components up to 18."""

MAX_PASSED_PIXELS = 2 * 10**9
"""Largest number of pixels that all scans of a JPEG pass over together.

A refining scan without data costs 29 bytes of the file and 0.9 ns for each pixel.
"""

OPENCV_LIMITS = {
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(10**8),
    "OPENCV_IO_MAX_IMAGE_WIDTH": str(2**20),
    "OPENCV_IO_MAX_IMAGE_HEIGHT": str(2**20),
}
"""Environment of a process that decodes: OpenCV's own limits, which it reads when it is loaded."""


def decoded(picture: EncodedPicture) -> Picture:
    """Decode a picture: uint8 [H, W, 3], RGB, turned upright according to its EXIF orientation.

    Grey becomes three equal channels, 16 bits become 8, transparency is dropped. The caller has limited the number of
    pixels.

    Raises:
        UnreadableError: a JPEG has too many scans, or OpenCV cannot decode the picture.
    """
    if picture.scans > MAX_SCANS or picture.scans * picture.pixels > MAX_PASSED_PIXELS:
        raise UnreadableError(f"{picture.scans} scans of {picture.width}x{picture.height} pixels")
    try:
        bgr = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    # A turned picture has its sides exchanged.
    if bgr is None or sorted(bgr.shape[:2]) != sorted((picture.width, picture.height)):
        raise UnreadableError(f"a {picture.format} that cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr).astype(np.uint8, copy=False)
