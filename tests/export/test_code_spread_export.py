"""Exported encoders know how far out the codes of good faces lie: measured on random faces of their generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_command import Command
from generators import random_generator
from official_encoders import CHANNELS, EncoderForm, official_checkpoint, official_encoder

from engines.contract.errors import CheckpointError, ExportError
from engines.model_directory import read_manifest
from export import code_spread
from export.build import build_encoder
from export.checkpoints import read_decoder, read_encoder, read_generator
from export.code_spread import (
    MARGIN,
    check_generator_of,
    codes_of_random_faces,
    encoder_of,
    measured_code_spread,
    spread_of,
)
from export.demo_models.files import DemoFiles
from export.networks.restyle import face_encoder_from_weights
from export.random_weights import random_encoder
from export.targets import ExportOptions
from serving.code_spread import CODE_SPREAD, code_spread_of

ENCODER = random_encoder((4, 4, 4, 4), 1, latent_avg=np.zeros((8, 16), np.float32))
GENERATOR = random_generator(32)
FAST = ("--engine", "onnxruntime", "--precision", "fp32")


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_spread, "FACES", 2)


def test_the_reach_is_a_margin_beyond_the_farthest_of_the_faces() -> None:
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.mean((2, 3)).repeat(1, 8).reshape(1, 8, 3) * torch.arange(1.0, 9)[None, :, None])
            return seen[-1]

    spread = measured_code_spread(encoder_of(Recorder()), GENERATOR)
    codes = torch.cat(seen).numpy()
    assert len(codes) == 2
    np.testing.assert_allclose(spread.mean, codes.mean(0), rtol=1e-6)
    farthest = np.linalg.norm(codes - codes.mean(0), axis=2).max(0)
    np.testing.assert_allclose(spread.reach, MARGIN * farthest, rtol=1e-6)
    assert spread.distances(codes).max() <= 1 / MARGIN + 1e-6


def test_an_encoder_that_answers_always_the_same_has_some_reach() -> None:
    class Constant(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(1, 8, 16)

    spread = measured_code_spread(encoder_of(Constant()), GENERATOR)
    assert (spread.reach > 0).all()
    assert not spread.distances(spread.mean[None]).any()


@pytest.mark.parametrize(
    ("generator", "got"),
    [
        (random_generator(16), "codes of 6 rows of 16"),
        (random_generator(32, w_dim=8), "codes of 8 rows of 8"),
        (random_generator(32, mapping_depth=0), "a generator without its mapping network"),
    ],
)
def test_a_generator_of_other_codes_is_refused(generator: Any, got: str) -> None:
    with pytest.raises(ExportError, match=f"got {got}, expected one whose mapping network gives codes of 8 rows of 16"):
        check_generator_of(ENCODER, generator)


def test_the_manifest_names_the_file_and_what_it_was_measured_on(tmp_path: Path) -> None:
    options = ExportOptions(tmp_path / "encoder", "encoder", engine="onnxruntime", precision="fp32")
    build_encoder(ENCODER, options, lambda _: None, generator=GENERATOR)
    manifest = read_manifest(tmp_path / "encoder")
    assert manifest.files.keys() == {"encoder.onnx", CODE_SPREAD}
    assert manifest.details["code_spread"]["generator"]["sha256"] == GENERATOR.source.sha256
    assert code_spread_of(tmp_path / "encoder", manifest) is not None


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An encoder of a single code with its 32x32 generator, as pSp's training writes it."""
    opts = {"encoder_type": "BackboneEncoderUsingLastLayerIntoW", "output_size": 32}
    torch.save(official_checkpoint(official_encoder("irse50", "one", 3), opts=opts), tmp_path / "encoder.pt")
    return tmp_path / "encoder.pt"


def without_decoder(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    state = {name: value for name, value in content["state_dict"].items() if not name.startswith("decoder.style.")}
    torch.save({**content, "state_dict": state}, checkpoint)


def test_the_generator_in_the_encoders_file_is_taken(command: Command, checkpoint: Path) -> None:
    decoder = read_decoder(checkpoint)
    assert decoder is not None
    assert (decoder.rows, decoder.w_dim) == (8, CHANNELS)
    code, _, err = command("encoder", "--checkpoint", checkpoint, "--output", "encoder", *FAST)
    assert code == 0
    assert "note:" not in err
    assert CODE_SPREAD in read_manifest(Path("encoder")).files


def test_a_file_without_its_generator_is_exported_with_a_line_that_says_so(command: Command, checkpoint: Path) -> None:
    without_decoder(checkpoint)
    assert read_decoder(checkpoint) is None
    code, _, err = command("encoder", "--checkpoint", checkpoint, "--output", "encoder", *FAST)
    assert code == 0
    (note,) = (line for line in err.splitlines() if line.startswith("note:"))
    assert "encoder.pt: got an encoder without its generator and mapping network" in note
    assert "give --generator to have codes that lie farther out pulled in" in note
    manifest = read_manifest(Path("encoder"))
    assert manifest.files.keys() == {"encoder.onnx"}
    assert "code_spread" not in manifest.details


def test_another_generator_may_be_given(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    whole.write_bytes(checkpoint.read_bytes())
    without_decoder(checkpoint)
    options = ("--checkpoint", checkpoint, "--generator", whole, "--output", "encoder", *FAST)
    assert command("encoder", *options)[0] == 0
    assert CODE_SPREAD in read_manifest(Path("encoder")).files
    code, _, err = command("encoder", *options, "--force", "--light")
    assert code == 1
    assert "--generator: got --light, expected the whole encoder" in err


def test_a_given_generator_that_does_not_fit_is_one_line_and_leaves_nothing(command: Command, checkpoint: Path) -> None:
    options = ("--checkpoint", checkpoint, "--generator", DemoFiles().base, "--output", "encoder", *FAST)
    code, _, err = command("encoder", *options)
    assert code == 1
    assert "base.pt: got codes of" in err
    assert not Path("encoder").exists()


def test_an_encoder_in_steps_is_measured_only_on_request(command: Command, tmp_path: Path) -> None:
    form = EncoderForm("BackboneEncoder", "irse50", "last", 2)
    torch.save(form.checkpoint(), tmp_path / "restyle.pt")
    assert read_encoder(tmp_path / "restyle.pt").decoder
    code, _, err = command("encoder", "--checkpoint", tmp_path / "restyle.pt", "--output", "encoder", *FAST)
    assert code == 0
    assert "got ReStyle, which would take minutes for" in err


def test_a_damaged_generator_does_not_pass_for_none(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    state = {name: value for name, value in content["state_dict"].items() if name != "decoder.convs.0.conv.weight"}
    torch.save({**content, "state_dict": state}, checkpoint)
    with pytest.raises(CheckpointError):
        read_decoder(checkpoint)


def test_good_faces_of_the_demo_keep_their_codes_bit_for_bit() -> None:
    demo = DemoFiles()
    encode, base = encoder_of(face_encoder_from_weights(demo.read_encoder())), read_generator(demo.base)
    spread = spread_of(codes_of_random_faces(encode, base, range(12)))
    w = codes_of_random_faces(encode, base, range(1000, 1012))
    guarded, distances = spread.guarded(w)
    assert guarded.tobytes() == w.tobytes()
    assert 0.3 < distances.max() < 1
