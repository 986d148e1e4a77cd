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

from engines.contract.atomic import atomic_file
from engines.contract.tensors import FACE_SIZE
from export.demo_models.faces import DRAWINGS, MEASURES, Artist, Domain
from export.demo_models.traits import TraitCodes, random_codes

_CHUNK = 64
"""Number of faces that a process draws at a time."""


@dataclass(frozen=True)
class Faces:
    """Codes float32 [N, traits], their pictures uint8 RGB [N, 256, 256, 3], and their measures float32 [N, 3]."""

    codes: TraitCodes
    pictures: NDArray[np.uint8]
    measures: NDArray[np.float32]


def drawn_faces(file: Path, count: int, seed: int, domain: Domain | None, artist: Artist = DRAWINGS) -> Faces:
    """Return the faces of ``random_codes(count, seed)``, mapped from ``file``, which is drawn if it is missing.

    If ``domain`` is None, each face has a random one: proportions and surface between photograph and cartoon. An
    interrupted drawing is resumed.
    """
    codes = random_codes(count, seed)
    measures_file = file.with_suffix(".measures.npy")
    if not (file.exists() and measures_file.exists()):
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        domains = [domain or Domain(*rng.random(2)) for _ in range(count)]
        measures = _draw_all(file, codes, domains, artist)
        with atomic_file(measures_file, force=True) as partial, partial.open("wb") as stream:
            np.save(stream, measures)
        partial_of(file).rename(file)
    return Faces(codes, np.load(file, mmap_mode="r"), np.load(measures_file))


def partial_of(file: Path) -> Path:
    """Return the file in which drawings are collected until all are there."""
    return file.with_name(file.name + ".partial")


def _draw_all(file: Path, codes: TraitCodes, domains: list[Domain], artist: Artist) -> NDArray[np.float32]:
    """Draw pictures into the partial file and return their measures, [N, 3]."""
    partial, done = partial_of(file), file.with_name(file.name + ".done")
    shape = (len(codes), FACE_SIZE, FACE_SIZE, 3)
    measured = np.load(done) if partial.exists() and done.exists() else np.zeros((0, len(MEASURES)), np.float32)
    pictures: NDArray[np.uint8] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        partial, mode="r+" if len(measured) else "w+", dtype=np.uint8, shape=shape
    )
    starts = range(len(measured), len(codes), _CHUNK)
    # A forked process would wait forever for OpenCV's and PyTorch's threads, which exist only in its parent.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        parts = ((codes[s : s + _CHUNK], domains[s : s + _CHUNK], artist) for s in starts)
        chunks = pool.map(_draw, *zip(*parts, strict=True))
        for start, (chunk, measures) in zip(starts, track(chunks, f"Drawing {file.stem}", len(starts)), strict=True):
            pictures[start : start + len(chunk)] = chunk
            measured = np.concatenate([measured, measures])
            with atomic_file(done, force=True) as written, written.open("wb") as stream:
                np.save(stream, measured)
    del pictures  # closes the map
    done.unlink()
    return measured


def _draw(codes: TraitCodes, domains: list[Domain], artist: Artist) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    cv2.setNumThreads(1)  # there is already a process per core
    pairs = list(zip(codes, domains, strict=True))
    return np.stack([artist.draw(*pair) for pair in pairs]), np.stack([artist.measures(*pair) for pair in pairs])
