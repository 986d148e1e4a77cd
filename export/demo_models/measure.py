"""Measurements of the demo models on faces outside their training sets: reconstruction, blending, and the ISF head.

The definitions are the papers': layer swapping by resolution (Pinkney & Adler), and for the ISF head the accuracy of
attributes (mAcc), the likeness of the person, the diversity over z, and the smoothness of the path from w to w' (PPL,
PIR; Liu et al.). The judge, a network trained on drawings only, replaces the papers' classifiers and LPIPS.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations, pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engines.contract.arrays import Pictures
from engines.contract.tensors import ISF_ATTRIBUTES
from export.blending import blend, schedule_from_options
from export.checkpoints import read_classifier, read_encoder, read_generator, read_isf
from export.demo_models.faces import CARTOON, MEASURES, PHOTO, Domain, draw_face, measures_of
from export.demo_models.files import ISF_IS_RESIDUAL, DemoFiles
from export.demo_models.isf_training import NOISE_SIZE
from export.demo_models.judge import FaceEstimates, Judge, estimate_faces, perceptual_distance, read_judge
from export.demo_models.traits import ATTRIBUTE_MODES, IDENTITY, INDEX, Codes, attributes_of, random_codes
from export.networks.classifier import Classifier, classifier_from_weights
from export.networks.encoder import Encoder, encoder_from_weights, input_from_face
from export.networks.generator import Generator, generator_from_weights, picture_from_output
from export.networks.isf import Isf, isf_from_weights
from export.weights import GeneratorWeights

HELD_OUT_SEED = 20_000_003
R_SWAPS = (4, 8, 16, 32, 64, 128, 256)
PATH_STEPS = 20
"""Number of pictures on the path from w to w', as in the paper's evaluation."""
DIVERSITY_SAMPLES = 10
"""Number of z for which the diversity is measured."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean and 5th percentile of PSNR in dB and SSIM, for held-out drawings through encoder and base generator."""

    psnr: float
    psnr_p5: float
    ssim: float
    ssim_p5: float


@dataclass(frozen=True)
class BlendMeasures:
    """Mean ``MEASURES`` of the pictures of one blend."""

    r_swap: int
    reverse: bool
    eye_height: float
    chin_width: float
    outline_strength: float


@dataclass(frozen=True)
class EditMeasures:
    """Measurements of the ISF head's edits of one attribute.

    Args:
        attribute: name of the attribute.
        accuracy: fraction of the edited faces in which the judge sees the target, over both targets.
        kept: fraction of the other attributes that the judge sees unchanged.
        encoded_accuracy: ``accuracy`` for codes of the encoder instead of exact ones.
        encoded_kept: ``kept`` for codes of the encoder.
        likeness: cosine similarity of the judge's estimates before and after the edit, of the identity's traits and of
            the looks of the other attributes.
        diversity: mean perceptual distance of pairs of pictures that differ only in z.
        path_length: PPL, the mean perceptual distance of neighbours on the path from w to w'.
        path_range: PIR, (longest - shortest step) / (distance of the path's ends + 1e-6).
    """

    attribute: str
    accuracy: float
    kept: float
    encoded_accuracy: float
    encoded_kept: float
    likeness: float
    diversity: float
    path_length: float
    path_range: float


@dataclass(frozen=True)
class Models:
    """The demo's six networks."""

    base: GeneratorWeights
    transfer: GeneratorWeights
    encoder: Encoder
    isf: Isf
    classifier: Classifier
    judge: Judge


@dataclass(frozen=True)
class Measurement:
    """All measurements of the demo models, and the accuracy and errors of judge and classifier on drawings."""

    faces: int
    judge_accuracy: dict[str, float]
    classifier_accuracy: dict[str, float]
    judge_errors: dict[str, float]
    drawn: dict[str, dict[str, float]]
    reconstruction: Reconstruction
    blends: tuple[BlendMeasures, ...]
    edits: tuple[EditMeasures, ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def load_models(files: DemoFiles) -> Models:
    """Load the demo's networks."""
    return Models(
        base=read_generator(files.base),
        transfer=read_generator(files.transfer),
        encoder=encoder_from_weights(read_encoder(files.encoder)),
        isf=isf_from_weights(read_isf(files.isf, residual=ISF_IS_RESIDUAL)),
        classifier=classifier_from_weights(read_classifier(files.isf)),
        judge=read_judge(files.judge),
    )


def measure(models: Models, faces: int, seed: int = HELD_OUT_SEED) -> Measurement:
    """Measure on ``faces`` drawings that are in no training set."""
    codes = random_codes(faces, seed)
    photos = np.stack([draw_face(code) for code in codes])
    toons = np.stack([draw_face(code, CARTOON) for code in codes])
    base = generator_from_weights(models.base)
    exact = Subjects(rows_of_codes(base, codes), attributes_of(codes))
    photo_estimates = estimate_faces(models.judge, photos)
    encodings = encoded(models.encoder, photos)
    # What the generator draws from an encoder's code is what an edit of it starts from.
    seen = (estimate_faces(models.judge, synthesised(base, encodings)).attributes > 0.5).astype(np.float32)
    from_photos = Subjects(encodings, seen)
    return Measurement(
        faces=faces,
        judge_accuracy=_accuracy(photo_estimates.attributes, codes),
        classifier_accuracy=_accuracy(_classified(models.classifier, photos), codes),
        judge_errors=_judge_errors(models.judge, codes, photos, toons),
        drawn={"photograph": _drawn_means(codes, PHOTO), "cartoon": _drawn_means(codes, CARTOON)},
        reconstruction=reconstruction(photos, synthesised(base, encodings)),
        blends=tuple(
            blend_measures(models, exact.w, r_swap, reverse=reverse) for reverse in (False, True) for r_swap in R_SWAPS
        ),
        edits=tuple(edit_measures(models, base, exact, from_photos, index) for index in range(len(ISF_ATTRIBUTES))),
    )


@dataclass(frozen=True)
class Subjects:
    """Faces to edit: codes [N, L, D] and the attributes that their pictures show, 0 or 1, [N, A]."""

    w: torch.Tensor
    attributes: NDArray[np.float32]

    def flipped(self, attribute: int) -> NDArray[np.float32]:
        """The target attributes with one of them changed in every face."""
        target = self.attributes.copy()
        target[:, attribute] = 1 - target[:, attribute]
        return target


def rows_of_codes(generator: Generator, codes: Codes) -> torch.Tensor:
    """Return the codes' w, repeated in every row, [N, L, D]: blends and edits are measured on W, as in the papers."""
    with torch.no_grad():
        w = generator.mapping(torch.from_numpy(codes))
    rows: torch.Tensor = w[:, None].expand(-1, 2 * len(generator.synthesis), -1)
    return rows


def encoded(encoder: Encoder, pictures: Pictures, batch: int = 16) -> torch.Tensor:
    """Encode pictures, uint8 [N, 256, 256, 3] -> W+ codes [N, L, D]."""
    with torch.no_grad():
        parts = [
            encoder(input_from_face(torch.from_numpy(pictures[start : start + batch])))
            for start in range(0, len(pictures), batch)
        ]
    return torch.cat(parts)


def synthesised(generator: Generator, w: torch.Tensor, batch: int = 16) -> Pictures:
    """Synthesise pictures, W+ codes [N, L, D] -> uint8 [N, R, R, 3]."""
    with torch.no_grad():
        parts = [picture_from_output(generator.synthesise(codes)) for codes in torch.split(w, batch)]
    pictures: Pictures = torch.cat(parts).numpy()
    return pictures


def reconstruction(photos: Pictures, reconstructed: Pictures) -> Reconstruction:
    """Compare pictures with their reconstructions, both uint8 [N, R, R, 3]."""
    psnr = [cv2.PSNR(a, b) for a, b in zip(photos, reconstructed, strict=True)]
    ssims = [ssim(a, b) for a, b in zip(photos, reconstructed, strict=True)]
    means = (
        float(np.mean(psnr)),
        float(np.percentile(psnr, 5)),
        float(np.mean(ssims)),
        float(np.percentile(ssims, 5)),
    )
    return Reconstruction(*means)


def ssim(a: Pictures, b: Pictures) -> float:
    """Return the structural similarity (Wang et al. 2004) of two uint8 RGB pictures [H, W, 3].

    The window is a Gaussian with a standard deviation of 1.5 pixels.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)

    def mean(picture: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.GaussianBlur(picture, (11, 11), 1.5).astype(np.float64)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def blended(models: Models, r_swap: int, *, reverse: bool) -> Generator:
    """Blend the two generators; r_swap 256 without ``reverse`` gives the cartoon network with the base's mapping."""
    schedule = schedule_from_options(models.base.resolution, r_swap, reverse=reverse)
    return generator_from_weights(blend([models.base, models.transfer], schedule).weights)


def blend_measures(models: Models, w: torch.Tensor, r_swap: int, *, reverse: bool) -> BlendMeasures:
    """Measure the pictures of a blend, as the judge estimates them."""
    seen = estimate_faces(models.judge, synthesised(blended(models, r_swap, reverse=reverse), w)).measures.mean(0)
    return BlendMeasures(r_swap, reverse, *map(float, seen))


def edit_measures(
    models: Models, base: Generator, exact: Subjects, from_photos: Subjects, attribute: int
) -> EditMeasures:
    """Flip one attribute of every face with the ISF head, all rows at full strength."""
    w, target = exact.w, exact.flipped(attribute)
    rng = torch.Generator().manual_seed(attribute)
    z = torch.randn(DIVERSITY_SAMPLES, len(w), NOISE_SIZE, generator=rng)
    goal = torch.from_numpy(target)
    with torch.no_grad():
        edited = models.isf.edit(w, z[0], goal)
        edited_photos = models.isf.edit(from_photos.w, z[0], torch.from_numpy(from_photos.flipped(attribute)))
    before, after, photos = (
        estimate_faces(models.judge, synthesised(base, rows)) for rows in (w, edited, edited_photos)
    )
    accuracy, kept = _hits(after, target, attribute)
    encoded_accuracy, encoded_kept = _hits(photos, from_photos.flipped(attribute), attribute)
    few = slice(0, min(len(w), 24))  # each face has 20 pictures on its path and 10 for diversity: the mean is stable
    length, spread = _path(models, base, w[few], edited[few])
    return EditMeasures(
        attribute=ISF_ATTRIBUTES[attribute],
        accuracy=accuracy,
        kept=kept,
        encoded_accuracy=encoded_accuracy,
        encoded_kept=encoded_kept,
        likeness=float(_cosine(before.traits, after.traits, attribute).mean()),
        diversity=_diversity(models, base, w[few], z[:, few], goal[few]),
        path_length=length,
        path_range=spread,
    )


def _hits(after: FaceEstimates, target: NDArray[np.float32], attribute: int) -> tuple[float, float]:
    """The fractions of faces with the target of the edited attribute, and of unchanged other attributes."""
    hits = (after.attributes > 0.5) == (target > 0.5)
    return float(hits[:, attribute].mean()), float(np.delete(hits, attribute, axis=1).mean())


def _classified(classifier: Classifier, pictures: Pictures, batch: int = 32) -> NDArray[np.float32]:
    starts = range(0, len(pictures), batch)
    with torch.no_grad():
        logits = [classifier(input_from_face(torch.from_numpy(pictures[start : start + batch]))) for start in starts]
    probabilities: NDArray[np.float32] = torch.sigmoid(torch.cat(logits)).numpy()
    return probabilities


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32], attribute: int) -> NDArray[np.float32]:
    looks = [mode for name, modes in ATTRIBUTE_MODES.items() if name != ISF_ATTRIBUTES[attribute] for mode in modes]
    columns = [INDEX[name] for name in (*IDENTITY, *looks)]
    x, y = a[:, columns], b[:, columns]
    cosine: NDArray[np.float32] = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return cosine


def _diversity(models: Models, base: Generator, w: torch.Tensor, z: torch.Tensor, goal: torch.Tensor) -> float:
    with torch.no_grad():
        estimates = [estimate_faces(models.judge, synthesised(base, models.isf.edit(w, noise, goal))) for noise in z]
    return float(np.mean([perceptual_distance(a, b) for a, b in combinations(estimates, 2)]))


def _path(models: Models, base: Generator, w: torch.Tensor, edited: torch.Tensor) -> tuple[float, float]:
    estimates = [
        estimate_faces(models.judge, synthesised(base, torch.lerp(w, edited, float(fraction))))
        for fraction in np.linspace(0, 1, PATH_STEPS)
    ]
    steps = np.stack([perceptual_distance(a, b) for a, b in pairwise(estimates)])
    ends = perceptual_distance(estimates[0], estimates[-1])
    return float(steps.mean()), float(((steps.max(0) - steps.min(0)) / (ends + 1e-6)).mean())


def _accuracy(probabilities: NDArray[np.float32], codes: Codes) -> dict[str, float]:
    right = ((probabilities > 0.5) == (attributes_of(codes) > 0.5)).mean(0)
    return {name: float(value) for name, value in zip(ISF_ATTRIBUTES, right, strict=True)}


def _judge_errors(judge: Judge, codes: Codes, photos: Pictures, toons: Pictures) -> dict[str, float]:
    seen = np.concatenate([estimate_faces(judge, photos).measures, estimate_faces(judge, toons).measures])
    true = np.stack([measures_of(code, domain) for domain in (PHOTO, CARTOON) for code in codes])
    return {name: float(value) for name, value in zip(MEASURES, np.abs(seen - true).mean(0), strict=True)}


def _drawn_means(codes: Codes, domain: Domain) -> dict[str, float]:
    means = np.mean([measures_of(code, domain) for code in codes], axis=0)
    return {name: float(value) for name, value in zip(MEASURES, means, strict=True)}
