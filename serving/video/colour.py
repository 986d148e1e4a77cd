"""Conversion between the pixels of video files and RGB: matrix, range, HDR, rotation, square pixels, even sizes.

A frame that is read and written unchanged keeps its luma and chroma: chroma samples are repeated when it is read and
averaged over the same pixels when it is written, and both conversions round. libswscale's fast default would darken the
frame by one level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.video.libav import av, sws

_EXACT = sws.Interpolation.POINT | sws.Interpolation.ACCURATE_RND | sws.Interpolation.FULL_CHR_H_INT
_SCALED = sws.Interpolation.BICUBIC | sws.Interpolation.ACCURATE_RND | sws.Interpolation.FULL_CHR_H_INT
_AVERAGED = sws.Interpolation.AREA | sws.Interpolation.FULL_CHR_H_INP

_UNSPECIFIED = 2  # of AVColorSpace, whose values are those of H.273
_HDR = (sws.ColorTrc.SMPTE2084, sws.ColorTrc.ARIB_STD_B67)  # PQ and HLG
_P3 = (sws.ColorPrimaries.SMPTE431, sws.ColorPrimaries.SMPTE432)
_WIDE_GAMUTS = (sws.ColorPrimaries.BT2020, *_P3)

_PLAUSIBLE_PIXEL_ASPECTS = (0.25, 4.0)
"""Range of plausible pixel aspect ratios; pixels of any other ratio are a mistake in the file, and taken as square."""


class ToRgb:
    """Converts decoded frames to upright RGB frames of one size, with square pixels.

    libswscale converts HDR (PQ and HLG) and wide gamuts (BT.2020 and P3) to BT.709: HDR's reference white, 203 nits,
    becomes white, and brighter or out-of-gamut colours are clipped. This takes seconds once, for a table, and then
    several times as long per frame as for other videos. Transparency is dropped; interlaced frames are not
    deinterlaced.

    Args:
        first: the stream's first frame. Later frames of another shape, as where a broadcast changes from 4:3 to 16:9,
            are fitted into its size, between black bars.
        pixel_aspect: width of a pixel in that frame divided by its height.
    """

    def __init__(self, first: av.VideoFrame, pixel_aspect: float = 1.0) -> None:
        self._orientation = _orientation(first) or (False, False, False)
        self.size = self.shape_of(first, pixel_aspect)
        self._reformatter = sws.VideoReformatter()

    def shape_of(self, frame: av.VideoFrame, pixel_aspect: float) -> tuple[int, int]:
        """Return width and height of a frame that is upright and has square pixels."""
        plausible = _PLAUSIBLE_PIXEL_ASPECTS[0] <= pixel_aspect <= _PLAUSIBLE_PIXEL_ASPECTS[1]
        width, height = round(frame.width * (pixel_aspect if plausible else 1)) or 1, frame.height
        return (height, width) if (_orientation(frame) or self._orientation)[0] else (width, height)

    def __call__(self, frame: av.VideoFrame, pixel_aspect: float) -> NDArray[np.uint8]:
        """Convert a frame to uint8 [H, W, 3], RGB, contiguous."""
        # Some decoders give the orientation only with the frames at which it is stated.
        self._orientation = _orientation(frame) or self._orientation
        width, height = shape = self.shape_of(frame, pixel_aspect)
        scale = min(self.size[0] / width, self.size[1] / height)
        fitted = max(round(width * scale), 1), max(round(height * scale), 1)
        pixels = self._converted(frame, self.size if shape == self.size else fitted)
        return pixels if fitted == self.size else _between_bars(pixels, self.size)

    def _converted(self, frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        unrotated = size[::-1] if self._orientation[0] else size
        converted = frame.color_trc in _HDR or frame.color_primaries in _WIDE_GAMUTS
        rgb = self._reformatter.reformat(
            frame,
            *unrotated,
            format="rgb24",
            src_colorspace=_assumed_matrix(frame),
            interpolation=_EXACT if (frame.width, frame.height) == unrotated else _SCALED,
            dst_color_range=sws.ColorRange.JPEG,
            dst_color_trc=sws.ColorTrc.BT709 if converted else None,
            dst_color_primaries=sws.ColorPrimaries.BT709 if converted else None,
        )
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), self._orientation)


class ToYuv:
    """Converts RGB to limited-range BT.709 4:2:0, which needs even sizes: an odd side repeats its last line."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._padding = size[0] % 2, size[1] % 2
        self.size = size[0] + self._padding[0], size[1] + self._padding[1]
        self._reformatter = sws.VideoReformatter()

    def __call__(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        """Convert uint8 [H, W, 3], RGB, to a frame that holds a copy."""
        right, bottom = self._padding
        if right or bottom:
            pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
        yuv = self._reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), "rgb24"),
            format="yuv420p",
            interpolation=_AVERAGED,
            dst_colorspace=sws.Colorspace.ITU709,
            dst_color_range=sws.ColorRange.MPEG,
        )
        _set_gamut(yuv)
        return yuv

    @staticmethod
    def describe(context: av.VideoCodecContext) -> None:
        """Set an encoder's colour properties, which it writes into the stream's header."""
        context.colorspace = sws.Colorspace.ITU709
        context.color_range = sws.ColorRange.MPEG
        _set_gamut(context)


def _set_gamut(target: av.VideoFrame | av.VideoCodecContext) -> None:
    target.color_primaries = sws.ColorPrimaries.BT709
    target.color_trc = sws.ColorTrc.BT709


def _assumed_matrix(frame: av.VideoFrame) -> sws.Colorspace | None:
    """Return the matrix that players assume if the file does not specify one; None if it does."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    return sws.Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else sws.Colorspace.ITU601


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool] | None:
    """Return whether rows and columns are swapped for display, and whether the result is then flipped in x and in y.

    None if the frame does not say so.
    """
    matrix = cast("Mapping[str, bytes | None]", frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return None
    # The matrix is int32 [3, 3] with 16 fractional bits: x' = a x + c y, y' = b x + d y, where a = d = 0 or b = c = 0.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    swapped = abs(b) > abs(a)
    return (True, c < 0, b < 0) if swapped else (False, a < 0, d < 0)


def _between_bars(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame of ``size`` with a smaller one in its middle."""
    height, width = pixels.shape[:2]
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    result = np.zeros((size[1], size[0], 3), np.uint8)
    result[top : top + height, left : left + width] = pixels
    return result


def _upright(pixels: NDArray[np.uint8], orientation: tuple[bool, bool, bool]) -> NDArray[np.uint8]:
    swapped, mirrored, upside_down = orientation
    if swapped:
        pixels = cv2.transpose(pixels).astype(np.uint8, copy=False)
    if mirrored or upside_down:
        code = -1 if mirrored and upside_down else int(mirrored)
        pixels = cv2.flip(pixels, code).astype(np.uint8, copy=False)
    return pixels
