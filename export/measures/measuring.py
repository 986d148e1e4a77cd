"""Measures a generator, with whatever encoder, head and networks are there, on seeded random faces and given ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from engines.contract.arrays import AnyArray, Codes, Pictures
from engines.contract.errors import RequestError
from engines.contract.tensors import FACE_SIZE
from export.measures.attributes import edit_accuracy
from export.measures.frechet import check_count, frechet_distance
from export.measures.inception import Inception
from export.measures.lpips import Lpips
from export.measures.perception import (
    PATH_STEPS,
    Perception,
    diversity,
    path_measures,
    perceptual_path_length,
    step_distances,
)
from export.measures.pictures import resized, ssim
from export.measures.recognition import recognition_score
from export.measures.subjects import BATCH, ClassifyFaces, EncodeFaces, MeasuredGenerator, MeasuredHead, torch_batch
from export.parity import parity
from serving.condition import z_from_seed
from serving.random_faces import z_of_seeds

PATH_FACES = 24
"""Faces whose paths are measured, each of 21 pictures, and whose edits are compared for several z."""

DIVERSITY_SAMPLES = 10
"""Edits of one face with different z, as in the evaluation of the ISF paper's code."""


@dataclass(frozen=True)
class Figure:
    """One result: the measure's name, the edited attribute if there is one, the value, and the number of samples."""

    measure: str
    attribute: str | None
    value: float | None
    n: int


@dataclass(frozen=True)
class Sample:
    """Which random faces are drawn: those of ``count`` seeds from ``seed`` on, truncated by ``psi``."""

    count: int
    seed: int
    psi: float

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.count)


class Recognition(Protocol):
    """Anything that gives vectors by which persons are compared."""

    def vectors(self, pictures: Pictures) -> AnyArray:
        """Compute the vectors of aligned faces, uint8 [N, R, R, 3] -> [N, D]."""
        ...


@dataclass(frozen=True)
class FacesToEdit:
    """Faces to edit: codes [N, L, D], their pictures [N, 256, 256, 3], and the attributes that these show, [N, A]."""

    w: Codes
    pictures: Pictures
    attributes: AnyArray

    def flipped(self, attribute: int) -> AnyArray:
        """Return the attributes with one of them changed in every face, 0 or 1."""
        target = self.attributes.copy()
        target[:, attribute] = 1 - target[:, attribute]
        return target


@dataclass(frozen=True)
class Instruments:
    """What a generator is measured with; a measure whose instrument is None is left out.

    Attributes:
        encoder, head, classifier: the networks of edits and reconstruction.
        lpips: for PPL.
        perception: for the paths and the diversity of edits.
        recognition: for FRS.
        inception, real: for FID; the features [M, 2048] of real pictures.
        faces: aligned faces to reconstruct, uint8 [M, 256, 256, 3].
    """

    encoder: EncodeFaces | None = None
    head: MeasuredHead | None = None
    classifier: ClassifyFaces | None = None
    lpips: Lpips | None = None
    perception: Perception | None = None
    recognition: Recognition | None = None
    inception: Inception | None = None
    faces: Pictures | None = None
    real: AnyArray | None = None


def measured(
    generator: MeasuredGenerator, tools: Instruments, sample: Sample, report: Callable[[str], None]
) -> Iterator[Figure]:
    """Yield every figure whose instruments are there; ``report`` is told each step.

    Raises:
        RequestError: see ``check_fits``, which finds it before the work.
    """
    if tools.faces is not None and tools.encoder:
        report(f"{generator.name}: reconstruction")
        side = min(generator.resolution, FACE_SIZE)
        yield from similarity("reconstruction:", tools.faces, generator.sized(tools.encoder(tools.faces), 1.0, side))
    if tools.real is not None and tools.inception:
        report(f"{generator.name}: FID")
        drawn = _features(generator, tools.inception, sample)
        yield Figure("FID", None, frechet_distance(drawn, tools.real), sample.count)
    if tools.lpips and generator.network:
        report(f"{generator.name}: PPL")
        yield _smoothness(generator, tools.lpips, sample)
    if tools.head:
        report(f"{generator.name}: random faces")
        w = _codes(generator, sample.seeds)
        faces = _faces_to_edit(generator, tools.classifier, w, len(tools.head.attributes), sample.psi)
        for index, attribute in enumerate(tools.head.attributes):
            report(f"{generator.name}: edits of {attribute}")
            yield from edit_figures(generator, tools, faces, sample, index)


def check_fits(generator: MeasuredGenerator, tools: Instruments) -> None:
    """Raise RequestError if encoder or head have other codes than the generator, or FID has too few real pictures."""
    if tools.faces is not None and tools.encoder:
        _check_codes("--encoder", tools.encoder(tools.faces[:1]).shape[1:], generator)
    if tools.head:
        _check_codes("--isf", tools.head.codes, generator)
    if tools.real is not None:
        check_count(tools.real)


def _check_codes(option: str, got: tuple[int, ...], generator: MeasuredGenerator) -> None:
    """Raise RequestError unless codes have the generator's width and rows; 0 rows fit any."""
    rows, width = got
    if width != generator.codes[1] or rows not in (0, generator.codes[0]):
        raise RequestError(
            option,
            got=f"codes of {rows or 'any number of'} rows of {width}",
            expected="{} rows of {}, as the generator {} takes them".format(*generator.codes, generator.name),
            remedy="give models that were trained for each other",
        )


def similarity(name: str, pictures: Pictures, others: Pictures) -> list[Figure]:
    """Return PSNR in dB and SSIM of corresponding pictures, uint8 [N, R, R, 3], compared at the smaller side.

    The 5th percentile stands beside each mean. ``name`` is put before the measures' names; a mean PSNR of pictures some
    of which are equal is None.
    """
    side = min(pictures.shape[1], others.shape[1])
    pairs = list(zip(resized(pictures, side), resized(others, side), strict=True))
    figures = []
    for measure, values in (
        ("PSNR", [parity(a, b).psnr for a, b in pairs]),
        ("SSIM", [ssim(a, b) for a, b in pairs]),
    ):
        with np.errstate(invalid="ignore"):  # between the infinite PSNRs of equal pictures
            percentile = np.percentile(values, 5)
        for suffix, value in (("", np.mean(values)), (", 5th percentile", percentile)):
            finite = float(value) if np.isfinite(value) else None
            figures.append(Figure(f"{name} {measure}{suffix}", None, finite, len(values)))
    return figures


def agreement(generator: MeasuredGenerator, first: MeasuredGenerator, sample: Sample) -> list[Figure]:
    """Compare two generators' pictures of the same seeds: two engines of one blend, or two blends."""
    seeds = sample.seeds[:PATH_FACES]
    pictures, others = (each.draw(_codes(each, seeds), sample.psi) for each in (generator, first))
    return similarity("against the first:", pictures, others)


def _codes(generator: MeasuredGenerator, seeds: range) -> Codes:
    return generator.map(z_of_seeds(seeds, generator.z_dim))


def _features(generator: MeasuredGenerator, inception: Inception, sample: Sample) -> AnyArray:
    parts = (sample.seeds[start : start + BATCH] for start in range(0, sample.count, BATCH))
    return np.concatenate([inception.features(generator.draw(_codes(generator, part), sample.psi)) for part in parts])


def _smoothness(generator: MeasuredGenerator, lpips: Lpips, sample: Sample) -> Figure:
    assert generator.network is not None
    # A pair takes two seeds; the first of each is the random face of that seed.
    first, last = sample.seed, sample.seed + 2 * sample.count
    z = torch.from_numpy(z_of_seeds(range(first, last), generator.z_dim)).reshape(-1, 2, generator.z_dim)
    parts = [
        step_distances(generator.network, lpips, part)
        for part in torch.split(z, max(torch_batch(generator.resolution) // 2, 1))
    ]
    return Figure("PPL", None, perceptual_path_length(np.concatenate(parts)), sample.count)


def edit_figures(
    generator: MeasuredGenerator, tools: Instruments, faces: FacesToEdit, sample: Sample, index: int
) -> Iterator[Figure]:
    """Measure edits of the attribute ``index`` by ``tools.head``, all rows at full strength.

    The accuracy, the likeness of the person, and the paths and the diversity of the first ``PATH_FACES`` faces are
    measured if classifier, recognition and perception are there.
    """
    head, w, target = tools.head, faces.w, faces.flipped(index)
    assert head is not None
    attribute = head.attributes[index]
    z = np.stack([z_from_seed(seed, head.noise_size) for seed in sample.seeds[: len(w)]])
    edited = head.edit(w, target, z)
    after = generator.sized(edited, sample.psi, FACE_SIZE)
    if tools.classifier:
        accuracy, kept = edit_accuracy(tools.classifier(after), target, index)
        yield Figure("mAcc", attribute, accuracy, len(w))
        if kept is not None:
            yield Figure("others kept", attribute, kept, len(w))
    if tools.recognition:
        score = recognition_score(tools.recognition.vectors(faces.pictures), tools.recognition.vectors(after))
        yield Figure("FRS", attribute, score, len(w))
    if tools.perception:
        few = slice(0, PATH_FACES)
        paths = (_path(start, end) for start, end in zip(w[few], edited[few], strict=True))
        several = _several_edits(head, w[few], target[few], sample.seed)
        yield from _figures_of_paths(
            tools.perception, (generator.draw(codes, sample.psi) for codes in paths), attribute
        )
        values = [diversity(tools.perception, generator.draw(codes, sample.psi)) for codes in several]
        yield Figure("diversity", attribute, float(np.mean(values)), len(values))


def _path(w: Codes, edited: Codes) -> Codes:
    """The codes [K, L, D] from one code [L, D] to its edit."""
    fractions = np.linspace(0, 1, PATH_STEPS + 1, dtype=np.float32)[:, None, None]
    return w + fractions * (edited - w)


def _figures_of_paths(perception: Perception, paths: Iterable[Pictures], attribute: str) -> list[Figure]:
    lengths, ranges = zip(*(path_measures(perception, pictures) for pictures in paths), strict=True)
    return [
        Figure("PPL of edits", attribute, float(np.mean(lengths)), len(lengths)),
        Figure("PIR", attribute, float(np.mean(ranges)), len(ranges)),
    ]


def _several_edits(head: MeasuredHead, w: Codes, target: AnyArray, seed: int) -> Iterator[Codes]:
    """For each face its edits with ``DIVERSITY_SAMPLES`` z."""
    z = np.stack([z_from_seed(seed + sample, head.noise_size) for sample in range(DIVERSITY_SAMPLES)])
    for code, goal in zip(w, target, strict=True):
        yield head.edit(np.repeat(code[None], len(z), 0), np.repeat(goal[None], len(z), 0), z)


def _faces_to_edit(
    generator: MeasuredGenerator, classifier: ClassifyFaces | None, w: Codes, attributes: int, psi: float
) -> FacesToEdit:
    """Draw random faces and read their attributes; without a classifier every other face passes for one with all."""
    pictures = generator.sized(w, psi, FACE_SIZE)
    if classifier:
        return FacesToEdit(w, pictures, (classifier(pictures) > 0.5).astype(np.float32))
    shown = np.zeros((len(w), attributes), np.float32)
    shown[1::2] = 1
    return FacesToEdit(w, pictures, shown)
