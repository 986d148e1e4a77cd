"""Rows of ISF heads, their classifiers, and encoders."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_files import (
    DATA,
    encoder_checkpoint,
    encoder_state,
    isf_state,
    official_shapes,
    saved,
    torch_tensors,
)
from deterministic_weights import discriminator_value, isf_value, state_dict
from encoder_formula import official_encoding
from isf_formula import official_edit
from official_encoders import OTHER_ENCODERS, EncoderForm, official_bootstrapping

from export.checkpoints import read_classifier, read_encoder, read_isf
from export.networks.classifier import classifier_from_weights
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.isf import isf_from_weights
from export.networks.restyle import face_encoder_from_weights
from tests.formats.differences import FORMULA, RECORDED, Compare, Difference, Row, of_codes

FACES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8).repeat(4, 1).repeat(4, 2)


def _recorded_isf(folder: Path) -> Difference:
    state = state_dict("public", official_shapes("isf_public.npz"), isf_value)
    isf = isf_from_weights(read_isf(saved(folder / "isf.ckpt", {"mapnet": torch_tensors(state)})))
    with np.load(DATA / "isf_public.npz") as arrays:
        recorded = {name: torch.from_numpy(arrays[name]) for name in ("w", "z", "d", "w_out")}
    return of_codes(isf.edit(recorded["w"], recorded["z"], recorded["d"]), recorded["w_out"])


def _recorded_classifier(folder: Path) -> Difference:
    tensors = torch_tensors(state_dict("public", official_shapes("isf_discriminator_public.npz"), discriminator_value))
    weights = read_classifier(saved(folder / "isf.ckpt", {"mapnet": {}, "discriminator": tensors}))
    with np.load(DATA / "isf_discriminator_public.npz") as recorded:
        face = torch.from_numpy(recorded["face"].repeat(32, 1).repeat(32, 2))
        logits = torch.from_numpy(recorded["logits"])
    return of_codes(classifier_from_weights(weights)(input_from_face(face)), logits)


def _isf(norm: str, *, pre_norm: bool) -> Compare:
    """Compare heads of W+ and of W, with and without the residual, of which the largest difference counts."""

    def compare(folder: Path) -> Difference:
        variants = product((18, 1), (False, True))
        return max((_head_difference(folder, norm, pre_norm, *v) for v in variants), key=lambda one: one.worst)

    return compare


def _head_difference(folder: Path, norm: str, pre_norm: bool, heads: int, residual: bool) -> Difference:
    state = torch_tensors(isf_state(heads, norm=norm, pre_norm=pre_norm))
    isf = isf_from_weights(read_isf(saved(folder / "isf.ckpt", {"mapnet": state}), residual=residual))
    rng = torch.Generator().manual_seed(0)
    w, z = torch.randn(3, 18, 16, generator=rng), torch.randn(3, 64, generator=rng)
    attributes = torch.randint(0, 2, (3, 4), generator=rng).float()
    expected = official_edit(state, w.double(), z.double(), attributes.double(), residual=residual)
    return of_codes(isf.edit(w, z, attributes), expected)


def _encoder(encoder_type: str, *, average: bool = True) -> Compare:
    def compare(folder: Path) -> Difference:
        changes: dict[str, Any] = {} if average else {"latent_avg": None}
        opts = {"encoder_type": encoder_type, "start_from_latent_avg": average}
        content = encoder_checkpoint(opts=opts, **changes)
        encoder = encoder_from_weights(read_encoder(saved(folder / "encoder.pt", content)))
        x = input_from_face(torch.from_numpy(FACES))
        e4e = encoder_type == "Encoder4Editing"
        expected = official_encoding(torch_tensors(encoder_state()), x.double(), e4e=e4e)
        return of_codes(encoder(x), expected + content["latent_avg"] if average else expected)

    return compare


def _other_encoder(form: EncoderForm) -> Compare:
    def compare(folder: Path) -> Difference:
        path = saved(folder / "encoder.pt", form.checkpoint())
        network = face_encoder_from_weights(read_encoder(path))
        return of_codes(network(input_from_face(torch.from_numpy(FACES))), form.codes(path, FACES))

    return compare


def _bootstrapped(folder: Path) -> Difference:
    first, corrector = OTHER_ENCODERS["into W+, pSp"], OTHER_ENCODERS["ReStyle-pSp"]
    paths = saved(folder / "first.pt", first.checkpoint()), saved(folder / "corrector.pt", corrector.checkpoint())
    network = face_encoder_from_weights(read_encoder(paths[1], first=paths[0]))
    codes = network(input_from_face(torch.from_numpy(FACES)))
    return of_codes(codes, official_bootstrapping(first, corrector, paths, FACES))


ROWS = (
    Row("ISF head", "as published", RECORDED, _recorded_isf),
    *(
        Row(
            "ISF head",
            f"{norm}, {'pre' if pre_norm else 'post'}-norm; W+ or W, residual or not",
            FORMULA,
            _isf(norm, pre_norm=pre_norm),
        )
        for norm, pre_norm in product(("adaln", "adain", "none"), (True, False))
    ),
    Row("ISF checkpoint", "classifier of attributes", RECORDED, _recorded_classifier),
    Row("pSp", "`GradualStyleEncoder`", FORMULA, _encoder("GradualStyleEncoder")),
    Row("pSp", "without `latent_avg`", FORMULA, _encoder("GradualStyleEncoder", average=False)),
    Row("e4e", "`Encoder4Editing`", FORMULA, _encoder("Encoder4Editing")),
    *(
        Row(name.split(" on ")[0].split(",")[-1].strip(), f"`{form.encoder_type}`", FORMULA, _other_encoder(form))
        for name, form in OTHER_ENCODERS.items()
    ),
    Row("pSp and ReStyle-pSp", "encoder bootstrapping", FORMULA, _bootstrapped),
)
"""Formats of ISF heads, classifiers and encoders."""
