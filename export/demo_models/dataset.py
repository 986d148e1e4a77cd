"""Drawn faces stored in files, so that training draws each only once."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from engines.contract.tensors import FACE_SIZE
from export.demo_models.faces import Domain, draw_face, measures_of
from export.demo_models.traits import TraitCodes, random_codes

_CHUNK = 64
"""Number of faces that a process draws at a time."""


@dataclass(frozen=True)
class Faces:
    """Codes float32 [N, traits], their pictures uint8 RGB [N, 256, 256, 3], and their measures float32 [N, 3]."""

    codes: TraitCodes
    pictures: NDArray[np.uint8]
    measures: NDArray[np.float32]


def drawn_faces(file: Path, count: int, seed: int, domain: Domain | None) -> Faces:
    """Return the faces of ``random_codes(count, seed)``, mapped from ``file``, which is drawn if it is missing.

    If ``domain`` is None, each face has a random one: proportions and surface between photograph and cartoon.
    """
    codes = random_codes(count, seed)
    rng = np.random.default_rng(seed)
    domains = [domain or Domain(*rng.random(2)) for _ in range(count)]
    measures = np.stack([measures_of(code, each) for code, each in zip(codes, domains, strict=True)])
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(file.name + ".partial")
        shape = (count, FACE_SIZE, FACE_SIZE, 3)
        pictures: NDArray[np.uint8] = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)  # type: ignore[no-untyped-call]
        starts = range(0, count, _CHUNK)
        # A forked process would wait forever for OpenCV's and PyTorch's threads, which exist only in its parent.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            chunks = pool.map(
                _draw, *zip(*((codes[s : s + _CHUNK], domains[s : s + _CHUNK]) for s in starts), strict=True)
            )
            for start, chunk in zip(starts, track(chunks, f"Drawing {file.stem}", len(starts)), strict=True):
                pictures[start : start + _CHUNK] = chunk
        del pictures  # closes the map
        partial.rename(file)
    return Faces(codes, np.load(file, mmap_mode="r"), measures)


def _draw(codes: TraitCodes, domains: list[Domain]) -> NDArray[np.uint8]:
    cv2.setNumThreads(1)  # there is already a process per core
    return np.stack([draw_face(code, domain) for code, domain in zip(codes, domains, strict=True)])
