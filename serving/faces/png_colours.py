"""Colours of a PNG: what its chunks say, as a colour profile (PNG specification, third edition, 4.3 and 11.3.2)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.faces.colours import MAX_PROFILE, ProfileError

COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
"""The chunks that say what a PNG's colours mean; if there are several, an earlier one of this list counts."""

_D65 = (0.3127, 0.3290)
_SRGB = (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_BT2020 = (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
_DISPLAY_P3 = (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_PRIMARIES = {1: _SRGB, 9: _BT2020, 12: _DISPLAY_P3}
"""White, red, green and blue as CIE x and y, by the code points of ITU-T H.273, table 2."""

_SRGB_CODES, _LINEAR = (1, 6, 13, 14, 15), 8
"""Transfer characteristics of H.273, table 3; those of television are shown as sRGB's, as in videos."""

_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1
_SRGB_EXPONENT, _NEAR = 2.2, 0.02
"""The exponent that programs write for sRGB, whose curve is not a power, and the deviation that rounding explains."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

_Floats = NDArray[np.float64]
_Chromaticities = Sequence[tuple[float, float]]


def profile_of_png(chunks: Sequence[bytes]) -> bytes:
    """Return the colour profile that a PNG's colour chunks hold or mean; it is empty if they mean sRGB.

    Args:
        chunks: those of ``COLOUR_CHUNKS``, each its name and its content.

    Raises:
        ProfileError: a chunk is damaged, or means what no profile here can say, such as the curves of HDR.
    """
    contents = {chunk[:4]: chunk[4:] for chunk in reversed(chunks)}  # of two of a kind the first counts
    if b"cICP" in contents:
        return _of_code_points(contents[b"cICP"])
    if b"iCCP" in contents:
        return _inflated(contents[b"iCCP"])
    if b"sRGB" in contents:
        return b""
    white_and_primaries = _chromaticities(contents[b"cHRM"]) if b"cHRM" in contents else _SRGB
    return _profile(white_and_primaries, _exponent(contents[b"gAMA"]) if b"gAMA" in contents else None)


def _inflated(content: bytes) -> bytes:
    """Inflate the content of iCCP: a name, a zero, the method 0, and the profile."""
    _, _, compressed = content.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(compressed[1:], MAX_PROFILE + 1)
    except zlib.error:
        raise ProfileError("damaged") from None
    if not inflate.eof and len(profile) <= MAX_PROFILE:
        raise ProfileError("incomplete")
    if not profile:
        raise ProfileError("damaged")
    return profile


def _of_code_points(content: bytes) -> bytes:
    """Return the profile that cICP means: primaries, transfer characteristics, matrix (0: none), full range (1)."""
    if len(content) != 4:
        raise ProfileError("damaged")
    primaries, transfer, matrix, full_range = content
    known = primaries in _PRIMARIES and (transfer in _SRGB_CODES or transfer == _LINEAR)
    if not known or (matrix, full_range) != (0, 1):
        raise ProfileError("of a rare kind")
    return _profile(_PRIMARIES[primaries], 1.0 if transfer == _LINEAR else None)


def _chromaticities(content: bytes) -> _Chromaticities:
    if len(content) != 32:
        raise ProfileError("damaged")
    values = [value / 100_000 for value in struct.unpack(">8I", content)]
    return [*zip(values[::2], values[1::2], strict=True)]


def _exponent(content: bytes) -> float | None:
    """Return the exponent of the curve from levels to light; None stands for sRGB's curve."""
    if len(content) != 4 or content == bytes(4):
        raise ProfileError("damaged")
    exponent = 100_000 / int.from_bytes(content, "big")
    return None if abs(exponent / _SRGB_EXPONENT - 1) < _NEAR else exponent


def _profile(white_and_primaries: _Chromaticities, exponent: float | None) -> bytes:
    """Write a profile of three primaries and one curve (ICC.1:2022, 7 and 8.3.3); no exponent: sRGB's curve."""
    if exponent is None and np.allclose(white_and_primaries, _SRGB, atol=0.001):
        return b""
    curve, kind = (_SRGB_CURVE, 3) if exponent is None else ((exponent,), 0)
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50)}
    for name, column in zip(b"rgb", _for_d50(white_and_primaries).T, strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(column)
        tags[bytes([name]) + b"TRC"] = b"para" + struct.pack(">IHH", 0, kind, 0) + _fixed(curve)
    table, contents, start = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(contents), len(content))
        contents += content
    fields = (start + len(contents), 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = struct.pack(">I4xI4s4s4s12x4s28x", *fields) + _fixed(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


def _for_d50(white_and_primaries: _Chromaticities) -> _Floats:
    """Return XYZ of red, green and blue in columns, adapted by Bradford's matrix to the white of profiles, D50."""
    x, y = np.array(white_and_primaries, np.float64).T
    if not y.all():
        raise ProfileError("damaged")
    white, *primaries = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=1)
    columns = np.stack(primaries, axis=1)
    try:
        columns = columns * np.linalg.solve(columns, white)
        to_d50 = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    except np.linalg.LinAlgError:
        raise ProfileError("damaged") from None
    return np.asarray(to_d50 @ columns)


def _fixed(values: Sequence[float] | _Floats) -> bytes:
    """Write numbers with 16 binary digits before and after the point."""
    numbers = np.rint(65536 * np.asarray(values, np.float64))
    if not (np.abs(numbers) < 2**31).all():
        raise ProfileError("damaged")
    return bytes(numbers.astype(">i4"))
