"""Input files for NVIDIA's perf_analyzer, whose own random data no ensemble accepts: noise is no JPEG."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path

from engines.contract.arrays import Picture
from engines.contract.atomic import atomic_directory
from export.demo_models.characters.render import draw_character
from export.demo_models.traits import random_codes
from serving.faces.jpeg import jpeg_from_picture

FACES = 8
"""Number of requests in a file, which perf_analyzer sends in turn."""
_SEED = 1


def write_perf_data(folder: Path, *, force: bool = False) -> None:
    """Write ``faces.json`` for ensembles that take arrays and ``faces_jpeg.json`` for those that take JPEG files.

    Both hold the same rendered faces, without the optional inputs, which perf_analyzer then leaves out.

    Raises:
        ExportError: the folder is there and ``force`` is not given, or it cannot be written.
    """
    faces = [draw_character(code) for code in random_codes(FACES, _SEED)]
    with atomic_directory(folder, force=force) as staging:
        _write(staging / "faces.json", ({"face": _encoded(face.tobytes())} for face in faces))
        _write(staging / "faces_jpeg.json", ({"jpeg": _encoded(_element(face))} for face in faces))


def _element(face: Picture) -> bytes:
    """Return a JPEG as an element of a BYTES tensor, which begins with its length."""
    jpeg = jpeg_from_picture(face)
    return struct.pack("<I", len(jpeg)) + jpeg


def _encoded(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def _write(path: Path, requests: Iterator[dict[str, dict[str, str]]]) -> None:
    path.write_text(json.dumps({"data": list(requests)}) + "\n")
