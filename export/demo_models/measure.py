"""Measurements of the demo models on faces outside their training sets: fidelity, blending, and the ISF head.

The definitions are the papers': layer swapping by resolution (Pinkney & Adler), and for the ISF head the accuracy of
attributes (mAcc), the likeness of the person, the diversity over z, and the smoothness of the path from w to w' (PPL,
PIR; Liu et al.). The judge, a network trained on renderings only, replaces the papers' classifiers and LPIPS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engines.contract.arrays import AnyArray, Pictures
from engines.contract.tensors import ISF_ATTRIBUTES
from export.blending import blend, schedule_from_options
from export.demo_models.characters.measures import measures_of_character
from export.demo_models.characters.render import draw_character
from export.demo_models.domains import (
    CARTOON,
    MEASURES,
    PHOTO,
    PHOTO_HALF,
    PHOTO_TOON,
    TOON_HALF,
    TOON_PHOTO,
    Domain,
)
from export.demo_models.isf_training import NOISE_SIZE
from export.demo_models.judge import Judge, JudgePerception, estimate_faces
from export.demo_models.models import Models
from export.demo_models.sibling_training import SPLIT, SURFACE_SHARES, domain_of_blend
from export.demo_models.traits import ATTRIBUTE_MODES, IDENTITY, INDEX, TraitCodes, attributes_of, random_codes
from export.measures.measuring import FacesToEdit, Figure, Instruments, Sample, edit_figures, similarity
from export.measures.subjects import MeasuredHead, measured_generator, network_on_faces
from export.networks.encoder import Encoder
from export.networks.generator import Generator, generator_from_weights
from export.networks.isf import Isf
from export.networks.restyle import Restyle

HELD_OUT_SEED = 20_000_003
R_SWAPS = (4, 8, 16, 32, 64, 128, 256)
RENDERINGS = {
    PHOTO: "photographs",
    CARTOON: "cartoons",
    TOON_PHOTO: "cartoon's geometry, photograph's surface",
    PHOTO_TOON: "photograph's geometry, cartoon's surface",
    TOON_HALF: "cartoon's geometry, surface halfway",
    PHOTO_HALF: "photograph's geometry, surface halfway",
}
"""What the renderings of each domain show."""
EDIT_SEED = 0
"""The seed of the first face's z."""


@dataclass(frozen=True)
class Fidelity:
    """Generated pictures beside renderings of the same faces.

    Args:
        pictures: which generator made them, and from which codes.
        renderings: the renderings that they are compared with.
        psnr, psnr_p5: mean and 5th percentile of the PSNR in dB.
        ssim: mean structural similarity.
        sharpness: variance of the Laplacian, as a share of the renderings'.
        distance: mean perceptual distance, on the judge's features.
    """

    pictures: str
    renderings: str
    psnr: float
    psnr_p5: float
    ssim: float
    sharpness: float
    distance: float


@dataclass(frozen=True)
class BlendMeasures:
    """Mean ``MEASURES`` of the pictures of one blend."""

    r_swap: int
    reverse: bool
    eye_height: float
    chin_width: float
    jaw_width: float
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
        path_length, path_range: PPL and PIR of the path from w to w', see ``export.measures.perception``.
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
class Measurement:
    """All measurements of the demo models, and the accuracy and errors of judge and classifier on renderings."""

    faces: int
    judge_accuracy: dict[str, float]
    classifier_accuracy: dict[str, float]
    judge_errors: dict[str, float]
    drawn: dict[str, dict[str, float]]
    fidelity: tuple[Fidelity, ...]
    blends: tuple[BlendMeasures, ...]
    edits: tuple[EditMeasures, ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure(models: Models, faces: int, seed: int = HELD_OUT_SEED) -> Measurement:
    """Measure on ``faces`` characters that are in no training set."""
    codes = random_codes(faces, seed)
    renderings = {domain: rendered(codes, domain) for domain in RENDERINGS}
    photos = renderings[PHOTO]
    base = generator_from_weights(models.base)
    w = rows_of_codes(base, codes)
    exact = FacesToEdit(w.numpy(), synthesised(base, w), attributes_of(codes))
    encodings = encoded(models.encoder, photos)
    reconstructed = synthesised(base, encodings)
    # What the generator draws from an encoder's code is what an edit of it starts from.
    seen = (estimate_faces(models.judge, reconstructed).attributes > 0.5).astype(np.float32)
    from_photos = FacesToEdit(encodings.numpy(), reconstructed, seen)
    return Measurement(
        faces=faces,
        judge_accuracy=_accuracy(estimate_faces(models.judge, photos).attributes, codes),
        classifier_accuracy=_accuracy(
            torch.from_numpy(network_on_faces(models.classifier)(photos)).sigmoid().numpy(), codes
        ),
        judge_errors=_judge_errors(models.judge, codes, photos, renderings[CARTOON]),
        drawn={"photograph": _drawn_means(codes, PHOTO), "cartoon": _drawn_means(codes, CARTOON)},
        fidelity=tuple(_fidelities(models, renderings, exact, from_photos)),
        blends=tuple(
            blend_measures(models, w, r_swap, reverse=reverse) for reverse in (False, True) for r_swap in R_SWAPS
        ),
        edits=tuple(edit_measures(models, exact, from_photos, index) for index in range(len(ISF_ATTRIBUTES))),
    )


def rendered(codes: TraitCodes, domain: Domain) -> Pictures:
    """Render characters in a domain, [N, traits] -> uint8 RGB [N, 256, 256, 3]."""
    return np.stack([draw_character(code, domain) for code in codes])


def _fidelities(
    models: Models, renderings: Mapping[Domain, Pictures], exact: FacesToEdit, from_photos: FacesToEdit
) -> Iterator[Fidelity]:
    """Compare every trained combination with its renderings, from exact codes and, for three, from the encoder's."""
    for name, faces in {"base": exact, "encoder + base": from_photos}.items():  # drawn already
        yield fidelity(models.judge, name, faces.pictures, RENDERINGS[PHOTO], renderings[PHOTO])
    blends = {
        f"r_swap {r_swap}{' `--reverse`' * reverse}": (r_swap, reverse, domain_of_blend(r_swap, reverse=reverse))
        for r_swap in SURFACE_SHARES
        for reverse in (False, True)
    }
    for name, (r_swap, reverse, domain) in (blends | {"transfer": (R_SWAPS[-1], False, CARTOON)}).items():
        generator = blended(models, r_swap, reverse=reverse)
        subjects = {name: exact}
        if name in {f"r_swap {SPLIT}", "transfer"}:
            subjects[f"encoder + {name}"] = from_photos
        for label, faces in subjects.items():
            pictures = synthesised(generator, torch.from_numpy(faces.w))
            yield fidelity(models.judge, label, pictures, RENDERINGS[domain], renderings[domain])


def fidelity(judge: Judge, name: str, pictures: Pictures, renderings: str, targets: Pictures) -> Fidelity:
    """Compare pictures with renderings of the same faces, both uint8 [N, 256, 256, 3]."""
    psnr, psnr_p5, ssim, _ = map(_value, similarity(name, targets, pictures))
    perception = JudgePerception(judge)
    distance = float(perception.distance(perception.features(pictures), perception.features(targets)).mean())
    sharpness = laplacian_variance(pictures) / laplacian_variance(targets)
    return Fidelity(name, renderings, psnr, psnr_p5, ssim, sharpness, distance)


def laplacian_variance(pictures: Pictures) -> float:
    """Return the mean variance of the Laplacian of grey pictures, uint8 [N, R, R, 3], in squared grey levels."""
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    return float(np.mean([cv2.Laplacian(grey, cv2.CV_64F).var() for grey in greys]))


def rows_of_codes(generator: Generator, codes: TraitCodes) -> torch.Tensor:
    """Return the codes' w, repeated in every row, [N, L, D]: blends and edits are measured on W, as in the papers."""
    with torch.no_grad():
        w = generator.mapping(torch.from_numpy(codes))
    rows: torch.Tensor = w[:, None].expand(-1, generator.rows, -1)
    return rows


def encoded(encoder: Encoder | Restyle, pictures: Pictures) -> torch.Tensor:
    """Encode pictures, uint8 [N, 256, 256, 3] -> W+ codes [N, L, D]."""
    return torch.from_numpy(network_on_faces(encoder)(pictures))


def synthesised(generator: Generator, w: torch.Tensor) -> Pictures:
    """Synthesise pictures, W+ codes [N, L, D] -> uint8 [N, R, R, 3]."""
    return measured_generator("a network", generator).draw(w.numpy(), 1.0)


def _value(figure: Figure) -> float:
    assert figure.value is not None, figure.measure
    return figure.value


def blended(models: Models, r_swap: int, *, reverse: bool) -> Generator:
    """Blend the two generators; r_swap 256 without ``reverse`` gives the cartoon network with the base's mapping."""
    schedule = schedule_from_options(models.base.resolution, r_swap, reverse=reverse)
    return generator_from_weights(blend([models.base, models.transfer], schedule).weights)


def blend_measures(models: Models, w: torch.Tensor, r_swap: int, *, reverse: bool) -> BlendMeasures:
    """Measure the pictures of a blend, as the judge estimates them."""
    seen = estimate_faces(models.judge, synthesised(blended(models, r_swap, reverse=reverse), w)).measures.mean(0)
    return BlendMeasures(r_swap, reverse, *map(float, seen))


def edit_measures(models: Models, exact: FacesToEdit, from_photos: FacesToEdit, attribute: int) -> EditMeasures:
    """Flip one attribute of every face with the ISF head, all rows at full strength; the judge measures it."""
    base = measured_generator("base", generator_from_weights(models.base))
    head = MeasuredHead(base.codes, ISF_ATTRIBUTES, NOISE_SIZE, lambda *inputs: _edited(models.isf, *inputs))
    by_judge = Instruments(head=head, classifier=lambda faces: estimate_faces(models.judge, faces).attributes)
    tools = replace(
        by_judge,
        perception=JudgePerception(models.judge),
        recognition=LikenessOfTraits(models.judge, attribute),
    )
    sample = Sample(len(exact.w), EDIT_SEED, psi=1.0)
    figures = {figure.measure: _value(figure) for figure in edit_figures(base, tools, exact, sample, attribute)}
    encoded = {
        figure.measure: _value(figure) for figure in edit_figures(base, by_judge, from_photos, sample, attribute)
    }
    return EditMeasures(
        attribute=ISF_ATTRIBUTES[attribute],
        accuracy=figures["mAcc"],
        kept=figures["others kept"],
        encoded_accuracy=encoded["mAcc"],
        encoded_kept=encoded["others kept"],
        likeness=figures["FRS"],
        diversity=figures["diversity"],
        path_length=figures["PPL of edits"],
        path_range=figures["PIR"],
    )


class LikenessOfTraits:
    """The judge's estimates of the identity's traits, and of how the attributes look that are not edited."""

    def __init__(self, judge: Judge, attribute: int) -> None:
        edited = ISF_ATTRIBUTES[attribute]
        looks = [mode for name, modes in ATTRIBUTE_MODES.items() if name != edited for mode in modes]
        self._judge, self._columns = judge, [INDEX[name] for name in (*IDENTITY, *looks)]

    def vectors(self, pictures: Pictures) -> AnyArray:
        return estimate_faces(self._judge, pictures).traits[:, self._columns]


def _edited(isf: Isf, w: AnyArray, target: AnyArray, z: AnyArray) -> AnyArray:
    with torch.no_grad():
        edited: AnyArray = isf.edit(*map(torch.from_numpy, (w, z, target))).numpy()
    return edited


def _accuracy(probabilities: NDArray[np.float32], codes: TraitCodes) -> dict[str, float]:
    right = ((probabilities > 0.5) == (attributes_of(codes) > 0.5)).mean(0)
    return {name: float(value) for name, value in zip(ISF_ATTRIBUTES, right, strict=True)}


def _judge_errors(judge: Judge, codes: TraitCodes, photos: Pictures, toons: Pictures) -> dict[str, float]:
    seen = np.concatenate([estimate_faces(judge, photos).measures, estimate_faces(judge, toons).measures])
    true = np.stack([measures_of_character(code, domain) for domain in (PHOTO, CARTOON) for code in codes])
    return {name: float(value) for name, value in zip(MEASURES, np.abs(seen - true).mean(0), strict=True)}


def _drawn_means(codes: TraitCodes, domain: Domain) -> dict[str, float]:
    means = np.mean([measures_of_character(code, domain) for code in codes], axis=0)
    return {name: float(value) for name, value in zip(MEASURES, means, strict=True)}
