"""ReStyle after another encoder, the paper's encoder bootstrapping: from two files to every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import saved
from export_command import Command
from official_encoders import CHANNELS, OTHER_ENCODERS, ROWS, EncoderForm, official_bootstrapping
from onnx_operators import FORBIDDEN

from engines import engine_from_onnx
from engines.contract.arrays import Pictures
from engines.contract.errors import CheckpointError, ExportError
from engines.contract.tensors import Geometry, encoder_signature
from engines.model_directory import read_manifest
from export.checkpoints import read_encoder, read_generator, write_encoder
from export.demo_face import demo_face
from export.graphs.encoder import onnx_from_encoder
from export.graphs.restyle import onnx_from_restyle
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.restyle import restyle_from_weights
from export.networks.trunk import Bottleneck, leave_idle_residuals_out
from export.random_weights import random_encoder

pytestmark = pytest.mark.usefixtures("no_gradients")

SIGNATURE = encoder_signature(Geometry(32, CHANNELS))
FIRST, CORRECTOR = OTHER_ENCODERS["into W+, pSp"], OTHER_ENCODERS["ReStyle-e4e"]


@pytest.fixture(scope="module")
def faces() -> Pictures:
    face = demo_face()
    return np.stack([face, 255 - face[:, ::-1]])


def with_other_colours(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint with another decoder than all others here have."""
    name = "decoder.to_rgb1.bias"
    state = checkpoint["state_dict"]
    return {**checkpoint, "state_dict": {**state, name: state[name] + 0.5}}


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """The checkpoints of both encoders, each with its own decoder."""
    first = saved(tmp_path / "first.pt", with_other_colours(FIRST.checkpoint()))
    return first, saved(tmp_path / "corrector.pt", CORRECTOR.checkpoint())


@pytest.mark.parametrize("first", ["into W+, pSp", "into W, e4e", "ReStyle-pSp on ResNet", "ReStyle-pSp"])
@pytest.mark.parametrize("corrector", ["ReStyle-e4e", "ReStyle-pSp on ResNet"])
def test_both_encoders_and_their_graph_equal_the_official_formula(
    tmp_path: Path, first: str, corrector: str, faces: Pictures
) -> None:
    forms = OTHER_ENCODERS[first], OTHER_ENCODERS[corrector]
    paths = (
        saved(tmp_path / "first.pt", with_other_colours(forms[0].checkpoint())),
        saved(tmp_path / "corrector.pt", forms[1].checkpoint()),
    )
    expected = official_bootstrapping(*forms, paths, faces)
    tolerance = {"rtol": 0, "atol": 1e-5 * float(expected.max() - expected.min())}
    network = restyle_from_weights(read_encoder(paths[1], first=paths[0]))
    np.testing.assert_allclose(network(input_from_face(torch.from_numpy(faces))), expected, **tolerance)
    model = onnx_from_restyle(network, SIGNATURE)
    onnx.checker.check_model(model, full_check=True)
    assert not [node.op_type for node in model.graph.node if node.op_type.startswith(FORBIDDEN)]
    onnx.save(model, tmp_path / "encoder.onnx")
    for name in ("onnxruntime", "openvino"):
        with engine_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, name) as engine:
            np.testing.assert_allclose(engine.run({"face": faces})["w"], expected, **tolerance)
            np.testing.assert_allclose(engine.run({"face": faces[1:]})["w"], expected[1:], **tolerance)


def test_the_first_encoder_matters(paths: tuple[Path, Path], faces: Pictures) -> None:
    x = input_from_face(torch.from_numpy(faces[:1]))
    with_first, alone = (restyle_from_weights(read_encoder(paths[1], first=first))(x) for first in (paths[0], None))
    assert (with_first - alone).abs().max() > 0.1


def test_the_command_exports_both_as_one_encoder(command: Command, paths: tuple[Path, Path], faces: Pictures) -> None:
    first, corrector = paths
    options = ("--first-encoder", first, "--steps", 1, "--engine", "onnxruntime", "--output", "encoder")
    code, _, err = command("encoder", "--checkpoint", corrector, *options)
    assert code == 0, err
    manifest = read_manifest(Path("encoder"))
    assert [(source.role, source.file) for source in manifest.sources] == [
        ("encoder", "corrector.pt"),
        ("first encoder", "first.pt"),
    ]
    assert manifest.details["steps"] == 1
    assert manifest.details["architecture"] == (
        "ReStyle-e4e, IR-SE-50, heads on the last map, after pSp, IR-SE-50, all rows by one layer"
    )
    expected = official_bootstrapping(FIRST, replace(CORRECTOR, steps=1), paths, faces)
    with engine_from_onnx(Path("encoder/encoder.onnx"), SIGNATURE, "onnxruntime") as engine:
        spread = float(expected.max() - expected.min())
        np.testing.assert_allclose(engine.run({"face": faces})["w"], expected, rtol=0, atol=1e-5 * spread)


def test_decoders_that_files_do_not_hold_are_the_generator(paths: tuple[Path, Path], command: Command) -> None:
    first, corrector = paths
    generator = read_generator(corrector)
    for path in paths:
        write_encoder(read_encoder(path), path, force=True)
    weights = read_encoder(corrector, first=first, generator=generator)
    assert weights.decoder is not None
    assert weights.first is not None
    assert weights.decoder.source == weights.first.decoder.source == generator.source
    code, _, err = command("encoder", "--checkpoint", corrector, "--first-encoder", first, "--output", "encoder")
    assert (code, "corrector.pt: got an encoder without its decoder" in err) == (1, True), err
    assert "give the checkpoint as its training wrote it, or --generator" in err
    assert not Path("encoder").exists()


def of_more_rows(form: EncoderForm) -> dict[str, Any]:
    return {
        **form.checkpoint(),
        "latent_avg": torch.zeros(ROWS + 2, CHANNELS),
        "opts": {"encoder_type": form.encoder_type},
    }


@pytest.mark.parametrize(
    ("first", "corrector", "sentence"),
    [
        (FIRST.checkpoint, FIRST.checkpoint, r"got an encoder of the architecture pSp, .*, expected ReStyle, which"),
        (
            lambda: of_more_rows(OTHER_ENCODERS["into W, pSp"]),
            CORRECTOR.checkpoint,
            r"first\.pt: got codes of 10 rows of 10, expected 8 rows of 10, as corrector\.pt",
        ),
    ],
)
def test_encoders_that_do_not_fit_are_refused(
    tmp_path: Path, first: Callable[[], dict[str, Any]], corrector: Callable[[], dict[str, Any]], sentence: str
) -> None:
    files = saved(tmp_path / "first.pt", first()), saved(tmp_path / "corrector.pt", corrector())
    with pytest.raises((ExportError, CheckpointError), match=sentence):
        read_encoder(files[1], first=files[0])


def test_a_first_encoder_without_a_restyle_checkpoint_is_refused(command: Command, paths: tuple[Path, Path]) -> None:
    code, _, err = command("encoder", "--first-encoder", paths[0], "--output", "encoder")
    assert (code, "--first-encoder: got no --checkpoint, expected the ReStyle encoder" in err) == (1, True), err


def test_residuals_that_are_always_zero_are_not_computed(faces: Pictures) -> None:
    weights = random_encoder((4, 4, 4, CHANNELS), 0, latent_avg=np.zeros((ROWS, CHANNELS), np.float32))
    idle = (0, 1, 5)
    zeros = tuple(f"body.{unit}.res_layer.4." for unit in idle)
    tensors = {
        name: value * (not name.startswith(zeros)) if name.endswith(("weight", "bias")) else value
        for name, value in weights.tensors.items()
    }
    whole, lean = (encoder_from_weights(replace(weights, tensors=tensors)) for _ in range(2))
    leave_idle_residuals_out(lean)
    left_out = [index for index, unit in enumerate(lean.body) if not isinstance(unit, Bottleneck)]
    assert left_out == [*idle]
    x = input_from_face(torch.from_numpy(faces))
    assert torch.equal(lean(x), whole(x))
    nodes = [len(onnx_from_encoder(network, SIGNATURE).graph.node) for network in (lean, whole)]
    assert nodes[0] < nodes[1]
