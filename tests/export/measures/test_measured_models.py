"""Every kind of model that is read or exported can be measured."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from checkpoint_files import saved
from generators import random_generator
from official_encoders import OTHER_ENCODERS, ROWS
from stylegan1_files import genforce_file, variables
from tiny_models import write_generator, write_mapping

from engines.contract.arrays import AnyArray, Pictures
from engines.model_directory import LiveBlend
from export.demo_face import demo_face
from export.measures.measuring import Instruments, Sample, measured, similarity
from export.measures.subjects import BATCH, measured_generator, open_encoder, open_generator, torch_batch
from export.networks.generator import generator_from_weights


def test_a_stylegan1_generator_has_codes_and_pictures(tmp_path: Path) -> None:
    with ExitStack() as stack:
        generator = open_generator(genforce_file(tmp_path / "v1.pth", variables()), stack)
        codes = generator.map(np.zeros((2, generator.z_dim), np.float32))
        assert codes.shape[1:] == generator.codes
        assert generator.draw(codes, 0.7).shape == (2, 128, 128, 3)


def test_a_live_generator_of_several_models_draws_its_default_blend(tmp_path: Path) -> None:
    blend = LiveBlend(resolutions=(4, 8, 16, 32), default=(0.5, 0.5) * 4, models=("B", "C"))
    directory = write_generator(tmp_path / "live", "live", live=blend)
    write_mapping(directory)
    with ExitStack() as stack:
        generator = open_generator(directory, stack)
        assert len(generator.draw(np.zeros((2, *generator.codes), np.float32), 1.0)) == 2


def test_a_restyle_encoder_takes_faces(tmp_path: Path) -> None:
    with ExitStack() as stack, torch.no_grad():
        encode = open_encoder(saved(tmp_path / "encoder.pt", OTHER_ENCODERS["ReStyle-pSp"].checkpoint()), stack)
        assert encode(demo_face()[None]).shape[:2] == (1, ROWS)


def test_many_pictures_are_never_held_in_full_size() -> None:
    small = measured_generator("small", generator_from_weights(random_generator(32, 4)))
    drawn: list[int] = []

    def draw(w: AnyArray, psi: float) -> Pictures:
        drawn.append(len(w))
        return np.zeros((len(w), 512, 512, 3), np.uint8)

    large = replace(small, resolution=512, draw=draw)
    faces = np.zeros((20, 256, 256, 3), np.uint8)
    tools = Instruments(encoder=lambda faces: np.zeros((len(faces), *small.codes), np.float32), faces=faces)
    figures = [*measured(large, tools, Sample(20, 0, 1.0), lambda _: None)]
    assert drawn == [BATCH, BATCH, 4]
    assert {figure.n for figure in figures} == {20}


def test_equal_pictures_have_no_psnr_and_cause_no_warning() -> None:
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    figures = similarity("against the first:", pictures, pictures)
    assert [figure.value for figure in figures] == [None, None, 1, 1]


def test_pytorch_draws_large_pictures_one_by_one() -> None:
    assert [torch_batch(resolution) for resolution in (32, 256, 512, 1024)] == [BATCH, BATCH, 2, 1]
