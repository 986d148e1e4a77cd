"""The demo models in the package: their files, and the quality of reconstruction, blends and edits."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.demo_models import FIGURES, MODEL_CARD, tables
from engines.contract.arrays import Pictures
from engines.contract.tensors import ISF_ATTRIBUTES
from export.blending import blend, schedule_from_options
from export.checkpoints import read_generator, read_isf
from export.demo_face import demo_face
from export.demo_models.domains import CARTOON, PHOTO, Domain
from export.demo_models.files import DemoFiles
from export.demo_models.judge import estimate_faces
from export.demo_models.measure import (
    RENDERINGS,
    blend_measures,
    blended,
    encoded,
    fidelity,
    laplacian_variance,
    rendered,
    rows_of_codes,
    synthesised,
)
from export.demo_models.models import Models, load_models
from export.demo_models.sibling_training import SPLIT, SURFACE_SHARES, domain_of_blend
from export.demo_models.traits import attributes_of, random_codes
from export.measures.pictures import ssim
from export.networks.generator import generator_from_weights

pytestmark = pytest.mark.usefixtures("no_gradients")

FILES = DemoFiles()
CODES = random_codes(8, 40_000_003)
PHOTOS = rendered(CODES, PHOTO)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(FILES)


@pytest.fixture(scope="module")
def w(models: Models) -> torch.Tensor:
    """The codes of the held-out photographs, [N, L, D]."""
    return rows_of_codes(generator_from_weights(models.base), CODES)


@pytest.fixture(scope="module")
def renderings() -> dict[Domain, Pictures]:
    """The held-out characters in the domains of all blends."""
    return {domain: rendered(CODES, domain) for domain in RENDERINGS}


def test_all_weights_together_are_small_in_git() -> None:
    """Git and wheels compress them, and the encoders' unused residual units are zeros."""
    sizes = [len(zlib.compress(path.read_bytes())) for path in FILES.directory.iterdir()]
    assert len(sizes) == 6
    assert sum(sizes) <= 16_000_000


def test_the_files_have_the_official_layouts_in_half_precision() -> None:
    def loaded(path: Path) -> dict[str, object]:
        return torch.load(path, weights_only=True)

    assert set(loaded(FILES.base)) == set(loaded(FILES.transfer)) == {"g_ema", "latent_avg"}
    encoders = [loaded(path) for path in (FILES.encoder, FILES.restyle)]
    assert all(set(each) == {"state_dict", "opts", "latent_avg"} for each in encoders)
    isf = loaded(FILES.isf)
    assert set(isf) == {"mapnet", "discriminator"}
    for tensors in (loaded(FILES.base)["g_ema"], *(each["state_dict"] for each in encoders), *isf.values()):
        assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float16}


def test_the_four_fit_each_other() -> None:
    base, transfer = read_generator(FILES.base), read_generator(FILES.transfer)
    encoder, isf = FILES.read_encoder(), read_isf(FILES.isf)
    assert encoder.first is not None
    assert base.resolution == transfer.resolution == 256
    assert base.rows == encoder.rows == isf.rows == 14
    assert base.w_dim == encoder.w_dim == isf.w_dim
    assert (encoder.steps, encoder.heads, encoder.first.encoder.heads) == (1, "all", "all")
    assert isf.attributes == ISF_ATTRIBUTES


def test_the_pair_blends_as_siblings() -> None:
    pair = [read_generator(FILES.base), read_generator(FILES.transfer)]
    report = blend(pair, schedule_from_options(256, r_swap=16)).report
    assert report.similarities[0].equal_noise
    assert report.warnings == ()


def test_photographs_are_reconstructed(models: Models) -> None:
    pictures = synthesised(generator_from_weights(models.base), encoded(models.encoder, PHOTOS))
    quality = fidelity(models.judge, "encoder + base", pictures, "photographs", PHOTOS)
    assert quality.psnr > 25.5
    assert quality.ssim > 0.85
    assert quality.sharpness > 0.5


def test_the_second_encoder_corrects_the_first_ones_codes(models: Models) -> None:
    assert models.encoder.first is not None
    base = generator_from_weights(models.base)
    before, after = (
        fidelity(models.judge, "", synthesised(base, encoded(network, PHOTOS)), "", PHOTOS).psnr
        for network in (models.encoder.first.encoder, models.encoder)
    )
    assert after > before + 0.3


def test_the_base_generator_draws_characters_that_it_was_not_trained_on(models: Models, w: torch.Tensor) -> None:
    pictures = synthesised(generator_from_weights(models.base), w)
    assert fidelity(models.judge, "base", pictures, "photographs", PHOTOS).psnr > 27


def test_generators_draw_sharp_pictures_of_their_codes(models: Models, w: torch.Tensor) -> None:
    for generator, targets in ((models.base, PHOTOS), (models.transfer, rendered(CODES, CARTOON))):
        made = synthesised(generator_from_weights(generator), w)
        assert 0.6 < laplacian_variance(made) / laplacian_variance(targets) < 1.2


def test_the_transferred_network_draws_the_cartoon_of_the_same_person(models: Models, w: torch.Tensor) -> None:
    toons = rendered(CODES, CARTOON)
    made = synthesised(generator_from_weights(models.transfer), w)
    own = np.mean([ssim(a, b) for a, b in zip(made, toons, strict=True)])
    others = np.mean([ssim(a, b) for a, b in zip(made, np.roll(toons, 1, axis=0), strict=True)])
    assert own > others


def test_structure_comes_from_the_layers_up_to_the_split_and_texture_from_those_above(
    models: Models, w: torch.Tensor
) -> None:
    for reverse in (False, True):
        low, middle, high = (blend_measures(models, w, r_swap, reverse=reverse) for r_swap in (4, SPLIT, 256))

        def progress(name: str, blends: tuple[object, ...] = (low, middle, high)) -> float:
            """Return the position of the split between the lowest r_swap (0) and the highest (1) in a measure."""
            start, here, end = (getattr(blend, name) for blend in blends)
            return (here - start) / (end - start)

        assert 0.7 < progress("eye_height") < 1.3
        assert 0.7 < progress("chin_width") < 1.3
        assert 0.7 < progress("jaw_width") < 1.3
        assert -0.15 < progress("outline_strength") < 0.15


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("r_swap", SURFACE_SHARES)
def test_a_blend_shows_the_rendering_of_its_geometry_and_its_surface(
    models: Models, w: torch.Tensor, renderings: dict[Domain, Pictures], r_swap: int, reverse: bool
) -> None:
    made = synthesised(blended(models, r_swap, reverse=reverse), w)
    errors = {domain: np.abs(made.astype(int) - pictures).mean() for domain, pictures in renderings.items()}
    assert min(errors, key=errors.__getitem__) == domain_of_blend(r_swap, reverse=reverse)


def test_a_blurred_picture_is_less_sharp() -> None:
    blurred = np.stack([cv2.GaussianBlur(photo, (0, 0), 2) for photo in PHOTOS]).astype(np.uint8)
    assert laplacian_variance(blurred) < 0.2 * laplacian_variance(PHOTOS)


@pytest.mark.parametrize("attribute", range(4), ids=ISF_ATTRIBUTES)
def test_the_isf_head_edits_the_requested_attribute(models: Models, w: torch.Tensor, attribute: int) -> None:
    target = torch.from_numpy(attributes_of(CODES))
    target[:, attribute] = 1 - target[:, attribute]
    z = torch.randn(len(w), 64, generator=torch.Generator().manual_seed(attribute))
    pictures = synthesised(generator_from_weights(models.base), models.isf.edit(w, z, target))
    seen = estimate_faces(models.judge, pictures).attributes[:, attribute] > 0.5
    assert np.mean(seen == (target[:, attribute].numpy() > 0.5)) >= 7 / 8  # of 200: 97 % or more of each


def test_the_judge_reads_attributes_off_renderings(models: Models) -> None:
    read = estimate_faces(models.judge, PHOTOS).attributes > 0.5
    assert np.mean(read == (attributes_of(CODES) > 0.5)) > 0.95


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    face = demo_face()
    noisy = np.clip(face + np.random.default_rng(0).normal(0, 20, face.shape), 0, 255).astype(np.uint8)
    assert ssim(face, face) == pytest.approx(1)
    assert 0.1 < ssim(face, noisy) < 0.8


def test_the_tables_are_those_of_the_figures() -> None:
    assert tables(json.loads(FIGURES.read_text())) in MODEL_CARD.read_text()
