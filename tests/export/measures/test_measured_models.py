"""Every kind of model that is read or exported can be measured."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from checkpoint_files import saved
from official_encoders import OTHER_ENCODERS, ROWS
from stylegan1_files import genforce_file, variables
from tiny_models import write_generator, write_mapping

from engines.model_directory import LiveBlend
from export.demo_face import demo_face
from export.measures.subjects import open_encoder, open_generator


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
