"""Drawn faces stored in files, so that training draws each only once."""

from __future__ import annotations

from collections.abc import Iterable
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
from export.demo_models.characters.measures import measures_of_character
from export.demo_models.characters.person import CHARACTER, Variation
from export.demo_models.characters.render import draw_character
from export.demo_models.domains import MEASURES, PHOTO, Domain
from export.demo_models.people import people_like
from export.demo_models.traits import TraitCodes, random_codes

Drawing = tuple[TraitCodes, Domain, Variation]
"""What is drawn: a face's traits [traits], where between photograph and cartoon, and what no trait describes."""
_CHUNK = 64
"""Number of faces that a process draws at a time."""


@dataclass(frozen=True)
class Faces:
    """Codes float32 [N, traits], their pictures uint8 RGB [N, 256, 256, 3], and their measures float32 [N, 4]."""

    codes: TraitCodes
    pictures: NDArray[np.uint8]
    measures: NDArray[np.float32]


def drawn_faces(file: Path, count: int, seed: int, domain: Domain | None) -> Faces:
    """Return the faces of ``random_codes(count, seed)``, mapped from ``file``, which is drawn if it is missing.

    A file of another number of faces is drawn again, and an interrupted drawing is resumed. If ``domain`` is None, each
    face has a random one: proportions and surface between photograph and cartoon.
    """
    codes, rng = random_codes(count, seed), np.random.default_rng(seed)
    return _stored(file, codes, ((code, domain or Domain(*rng.random(2)), CHARACTER) for code in codes))


def drawn_people(file: Path, count: int, seed: int) -> Faces:
    """Return the faces of ``drawn_faces(file, count, seed, PHOTO)``, but drawn as people look (``people.py``)."""
    codes, rng = random_codes(count, seed), np.random.default_rng(seed)
    return _stored(file, codes, ((code, PHOTO, variation) for code, variation in people_like(codes, rng)))


def _stored(file: Path, codes: TraitCodes, drawings: Iterable[Drawing]) -> Faces:
    """Return the faces of codes, of which ``drawings`` are made if the file does not hold them all."""
    if not (_holds(file, len(codes)) and len(_measures(file)) == len(codes)):
        _draw_all(file, list(drawings))
    return Faces(codes, np.load(file, mmap_mode="r"), _measures(file))


def partial_of(file: Path) -> Path:
    """Return the file in which drawings are collected until all are there."""
    return file.with_name(file.name + ".partial")


def measures_file_of(file: Path) -> Path:
    """Return the file of the drawings' measures, which has as many rows as faces are drawn."""
    return file.with_suffix(".measures.npy")


def _holds(file: Path, count: int) -> bool:
    return file.exists() and len(np.load(file, mmap_mode="r")) == count


def _measures(file: Path) -> NDArray[np.float32]:
    """Return the measures of the faces that are drawn, [N, 4]."""
    path = measures_file_of(file)
    measures: NDArray[np.float32] = np.load(path) if path.exists() else np.zeros((0, len(MEASURES)), np.float32)
    return measures


def _draw_all(file: Path, drawings: list[Drawing]) -> None:
    """Draw pictures into the partial file, which becomes ``file`` when all are there, and store their measures."""
    partial, measured = partial_of(file), _measures(file)
    if not (len(measured) and _holds(partial, len(drawings))):
        measured = measured[:0]
        _save_measures(file, measured)  # first, since an interruption would leave empty pictures that count as drawn
    pictures: NDArray[np.uint8] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        partial,
        mode="r+" if len(measured) else "w+",
        dtype=np.uint8,
        shape=(len(drawings), FACE_SIZE, FACE_SIZE, 3),
    )
    starts = range(len(measured), len(drawings), _CHUNK)
    # A forked process would wait forever for OpenCV's and PyTorch's threads, which exist only in its parent.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        chunks = pool.map(_draw, (drawings[start : start + _CHUNK] for start in starts))
        for start, (chunk, measures) in zip(starts, track(chunks, f"Drawing {file.stem}", len(starts)), strict=True):
            pictures[start : start + len(chunk)] = chunk
            measured = np.concatenate([measured, measures])
            _save_measures(file, measured)
    del pictures  # closes the map
    partial.rename(file)


def _save_measures(file: Path, measures: NDArray[np.float32]) -> None:
    with atomic_file(measures_file_of(file), force=True) as partial, partial.open("wb") as stream:
        np.save(stream, measures)


def _draw(drawings: list[Drawing]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    cv2.setNumThreads(1)  # there is already a process per core
    return (
        np.stack([draw_character(code, domain, variation=variation) for code, domain, variation in drawings]),
        np.stack([measures_of_character(code, domain) for code, domain, _ in drawings]),
    )
