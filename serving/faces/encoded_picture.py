"""What the readers of encoded pictures return and raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.faces.other_kinds import SAVE_FIRST

Format = Literal["PNG", "JPEG", "WebP", "AVIF"]


@dataclass(frozen=True)
class EncodedPicture:
    """The structure of a picture.

    ``width``, ``height``: the size in pixels as stored, before the picture is turned upright.
    ``channels``: 1 for grey, 3 for RGB or a palette, 4 for CMYK; transparency does not count.
    ``scans``: how often the decoder passes over all pixels.
    ``data``: what the decoder needs.
    ``orientation``: that of EXIF, 1 (upright) to 8.
    ``profile``: parts of the colour profile as the format stores them, or a PNG's chunks that say what its colours
    mean; none without a profile.
    """

    format: Format
    width: int
    height: int
    channels: int
    scans: int
    data: bytes
    orientation: int = 1
    profile: tuple[bytes, ...] = ()

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


class UnreadableError(Exception):
    """A file that is not decoded; ``got`` and ``remedy`` complete an error's sentence."""

    def __init__(self, got: str, remedy: str = SAVE_FIRST) -> None:
        super().__init__(got)
        self.got = got
        self.remedy = remedy
