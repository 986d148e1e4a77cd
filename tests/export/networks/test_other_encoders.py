"""ReStyle's encoders and those without style heads: from their files to every engine, by the official formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoint_files import assert_same, saved
from official_encoders import CHANNELS, OTHER_ENCODERS, ROWS, official_checkpoint, official_encoder
from onnx_operators import FORBIDDEN
from torch import Tensor

from engines import engine_from_onnx
from engines.contract.arrays import Pictures
from engines.contract.errors import CheckpointError, EngineError, ExportError
from engines.contract.tensors import Geometry, encoder_signature
from engines.torch.engine import network_from_onnx
from export.build import build_encoder
from export.checkpoints import describe, read_encoder, read_generator, write_encoder
from export.cutting import light_encoder
from export.demo_face import demo_face
from export.graphs.encoder import onnx_from_encoder
from export.graphs.restyle import onnx_from_restyle
from export.networks.encoder import Encoder, input_from_face
from export.networks.restyle import Restyle, face_encoder_from_weights, restyle_from_weights
from export.options import with_steps
from export.random_weights import random_encoder, random_generator
from export.targets import ExportOptions

pytestmark = pytest.mark.usefixtures("no_gradients")

RESTYLE, INTO_W = OTHER_ENCODERS["ReStyle-e4e"], OTHER_ENCODERS["into W, e4e"]
SIGNATURE = encoder_signature(Geometry(32, CHANNELS))


@pytest.fixture(scope="module")
def faces() -> Pictures:
    face = demo_face()
    return np.stack([face, 255 - face[:, ::-1]])


def graph_of(network: Encoder | Restyle) -> onnx.ModelProto:
    if isinstance(network, Restyle):
        return onnx_from_restyle(network, SIGNATURE)
    return onnx_from_encoder(network, SIGNATURE)


def assert_codes(codes: Any, expected: Tensor) -> None:
    """Compare codes; measured 6e-7 of their range, after 50 layers of sums in another order."""
    spread = float(expected.max() - expected.min())
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-5 * spread)


@pytest.mark.parametrize("name", OTHER_ENCODERS)
def test_an_encoder_and_its_graph_equal_the_official_formula(tmp_path: Path, name: str, faces: Pictures) -> None:
    path = saved(tmp_path / "encoder.pt", OTHER_ENCODERS[name].checkpoint())
    expected = OTHER_ENCODERS[name].codes(path, faces)
    network = face_encoder_from_weights(read_encoder(path))
    assert_codes(network(input_from_face(torch.from_numpy(faces))), expected)
    model = graph_of(network)
    onnx.checker.check_model(model, full_check=True)
    assert not [node.op_type for node in model.graph.node if node.op_type.startswith(FORBIDDEN)]
    onnx.save(model, tmp_path / "encoder.onnx")
    with engine_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, "onnxruntime") as engine:
        assert_codes(engine.run({"face": faces})["w"], expected)
        assert_codes(engine.run({"face": faces[1:]})["w"], expected[1:])


@pytest.mark.x86
@pytest.mark.parametrize("name", OTHER_ENCODERS)
def test_winograd_runs_those_of_one_step_and_refuses_the_others(tmp_path: Path, name: str, faces: Pictures) -> None:
    path = saved(tmp_path / "encoder.pt", OTHER_ENCODERS[name].checkpoint())
    onnx.save(graph_of(face_encoder_from_weights(read_encoder(path))), tmp_path / "encoder.onnx")
    if OTHER_ENCODERS[name].steps:
        with pytest.raises(EngineError, match=r"got a graph without .*, expected an encoder of one step on IR-SE-50"):
            engine_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, "winograd")
    else:
        with engine_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, "winograd") as engine:
            assert_codes(engine.run({"face": faces})["w"], OTHER_ENCODERS[name].codes(path, faces))


@pytest.mark.parametrize("name", ["into W+, pSp", "ReStyle-e4e on ResNet"])
def test_the_other_engines_run_every_operator_of_them(tmp_path: Path, name: str, faces: Pictures) -> None:
    path = saved(tmp_path / "encoder.pt", OTHER_ENCODERS[name].checkpoint())
    onnx.save(graph_of(face_encoder_from_weights(read_encoder(path))), tmp_path / "encoder.onnx")
    expected = OTHER_ENCODERS[name].codes(path, faces)
    with engine_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, "openvino") as engine:
        assert_codes(engine.run({"face": faces})["w"], expected)
    in_torch = network_from_onnx(tmp_path / "encoder.onnx", SIGNATURE, torch.device("cpu"))
    assert_codes(in_torch({"face": torch.from_numpy(faces)})["w"], expected)


def test_a_decoders_large_picture_is_averaged_to_the_size_of_a_face(faces: Pictures) -> None:
    decoder = random_generator(dict.fromkeys((4, 8, 16, 32, 64, 128, 256, 512), 2), 0, w_dim=CHANNELS, mapping_depth=0)
    latent_avg = np.zeros((decoder.rows, CHANNELS), np.float32)
    encoder = random_encoder((4, 4, 4, CHANNELS), 0, latent_avg=latent_avg)
    stem = np.tile(encoder.tensors["input_layer.0.weight"], (1, 2, 1, 1))
    tensors = {**encoder.tensors, "input_layer.0.weight": stem}
    network = restyle_from_weights(replace(encoder, tensors=tensors, decoder=decoder, steps=2))
    signature = encoder_signature(Geometry(512, CHANNELS))
    session = onnxruntime.InferenceSession(onnx_from_restyle(network, signature).SerializeToString())
    assert_codes(session.run(None, {"face": faces[:1]})[0], network(input_from_face(torch.from_numpy(faces[:1]))))


@pytest.mark.parametrize(
    ("name", "architecture", "steps"),
    [
        ("into W, e4e", "pSp, IR-SE-50, one code for all rows", None),
        ("into W+, pSp", "pSp, IR-SE-50, all rows by one layer", None),
        ("ReStyle-e4e", "ReStyle-e4e, IR-SE-50, heads on the last map", 2),
        ("ReStyle-pSp on ResNet", "ReStyle-pSp, ResNet-34, heads on the last map", 1),
    ],
)
def test_inspect_names_the_architecture(tmp_path: Path, name: str, architecture: str, steps: int | None) -> None:
    report = describe(saved(tmp_path / "encoder.pt", OTHER_ENCODERS[name].checkpoint()))
    assert (report.kind, report.architecture, report.rows, report.steps) == ("encoder", architecture, ROWS, steps)
    unused = "decoder.style (16 tensors): the mapping network" if steps else "decoder ("
    assert any(line.startswith(f"state_dict.{unused}") for line in report.left_out), report.left_out


def test_restyle_starts_from_the_average_whatever_its_options_say(tmp_path: Path) -> None:
    opts = {"encoder_type": "BackboneEncoder", "start_from_latent_avg": False}
    weights = read_encoder(saved(tmp_path / "encoder.pt", OTHER_ENCODERS["ReStyle-pSp"].checkpoint(opts=opts)))
    assert weights.latent_avg.any()
    assert (weights.steps, weights.notes) == (5, ())


@pytest.mark.parametrize(
    ("average", "opts", "rows", "notes"),
    [
        (torch.ones(1, CHANNELS), {"output_size": 64}, 10, 0),
        (torch.ones(1, CHANNELS), {"stylegan_size": 256}, 14, 0),
        (torch.ones(CHANNELS), {}, 18, 1),
    ],
)
def test_one_code_is_for_as_many_rows_as_the_file_records(
    tmp_path: Path, average: Tensor, opts: dict[str, Any], rows: int, notes: int
) -> None:
    opts = {"encoder_type": "SingleStyleCodeEncoder", **opts}
    weights = read_encoder(saved(tmp_path / "encoder.pt", INTO_W.checkpoint(latent_avg=average, opts=opts)))
    assert weights.latent_avg.shape == (rows, CHANNELS)
    assert [note for note in weights.notes if "1024x1024 is assumed" in note] == list(weights.notes)
    assert len(weights.notes) == notes


def without_decoder(checkpoint: dict[str, Any]) -> dict[str, Any]:
    state = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith("encoder.")}
    return {**checkpoint, "state_dict": state}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            lambda: without_decoder(RESTYLE.checkpoint()),
            "an encoder without its decoder, expected one",
        ),
        (lambda: RESTYLE.checkpoint(latent_avg=None), "a latent_avg of another form"),
        (lambda: RESTYLE.checkpoint(opts={}), "does not say whether it is pSp or e4e"),
        (
            lambda: RESTYLE.checkpoint(opts={"encoder_type": "BackboneEncoder", "n_iters_per_batch": 99}),
            "n_iters_per_batch = 99, expected 1 to 20 steps",
        ),
        (
            lambda: OTHER_ENCODERS["into W+, pSp"].checkpoint(opts={"encoder_type": "Encoder4Editing"}),
            "the encoder type 'Encoder4Editing', expected one with the tensors of this file: BackboneEncoderUsing",
        ),
        (
            lambda: official_checkpoint(
                {**official_encoder("irse50", "all", 3), "linear.weight": np.zeros((79, CHANNELS), np.float32)}
            ),
            r"'linear\.weight' of shape \[79, 10\], expected \[70, 10\]",
        ),
    ],
)
def test_a_damaged_encoder_is_refused(tmp_path: Path, content: Callable[[], dict[str, Any]], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_encoder(saved(tmp_path / "encoder.pt", content()))


def test_steps_are_those_of_restyle(tmp_path: Path) -> None:
    restyle = read_encoder(saved(tmp_path / "restyle.pt", RESTYLE.checkpoint()))
    assert with_steps(restyle, 3).steps == 3
    assert with_steps(restyle, None).steps == 2
    one = read_encoder(saved(tmp_path / "one.pt", OTHER_ENCODERS["into W, pSp"].checkpoint()))
    with pytest.raises(ExportError, match=r"--steps 3: got an encoder of the architecture pSp, .* leave --steps out"):
        with_steps(one, 3)


def test_what_only_pyramids_have_is_refused_for_others(tmp_path: Path) -> None:
    one = read_encoder(saved(tmp_path / "one.pt", OTHER_ENCODERS["into W, pSp"].checkpoint()))
    with pytest.raises(ExportError, match="--light: got an encoder of the architecture pSp, IR-SE-50, one code"):
        light_encoder(one)


@pytest.mark.parametrize("form", ["into W, pSp", "into W+, pSp"])
def test_an_encoder_without_style_heads_that_is_written_reads_back(tmp_path: Path, form: str) -> None:
    original = read_encoder(saved(tmp_path / "in.pt", OTHER_ENCODERS[form].checkpoint()))
    write_encoder(original, tmp_path / "out.pt")
    written = read_encoder(tmp_path / "out.pt")
    assert (written.kind, written.heads) == (original.kind, original.heads)
    assert_same(written.tensors, original.tensors)
    np.testing.assert_array_equal(written.latent_avg, original.latent_avg)
    assert (
        torch.load(tmp_path / "out.pt", weights_only=True)["opts"]["encoder_type"] == OTHER_ENCODERS[form].encoder_type
    )


@pytest.mark.parametrize("form", ["ReStyle-pSp", "ReStyle-e4e"])
def test_a_restyle_encoder_that_is_written_reads_back_with_its_decoder(tmp_path: Path, form: str) -> None:
    original = read_encoder(saved(tmp_path / "in.pt", OTHER_ENCODERS[form].checkpoint()))
    write_encoder(original, tmp_path / "out.pt")
    with pytest.raises(CheckpointError, match=r"out\.pt: got an encoder without its decoder, .* or --generator"):
        read_encoder(tmp_path / "out.pt")
    written = read_encoder(tmp_path / "out.pt", generator=read_generator(tmp_path / "in.pt"))
    assert (written.kind, written.heads, written.steps) == (original.kind, original.heads, 2)
    assert_same(written.tensors, original.tensors)
    assert written.decoder is not None
    assert original.decoder is not None
    assert_same(written.decoder.tensors, original.decoder.tensors)


def test_an_encoder_on_another_trunk_is_not_written(tmp_path: Path) -> None:
    restyle = read_encoder(saved(tmp_path / "in.pt", OTHER_ENCODERS["ReStyle-pSp on ResNet"].checkpoint()))
    with pytest.raises(CheckpointError, match=r"expected an encoder on IR-SE-50"):
        write_encoder(restyle, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_a_model_directory_of_restyle_says_its_steps(tmp_path: Path) -> None:
    weights = read_encoder(saved(tmp_path / "encoder.pt", OTHER_ENCODERS["ReStyle-pSp on ResNet"].checkpoint()))
    options = ExportOptions(tmp_path / "encoder", "encoder", engine="onnxruntime")
    manifest = build_encoder(weights, options, lambda _: None)
    assert (manifest.details["kind"], manifest.details["steps"], manifest.engine) == ("psp", 1, "onnxruntime")
    assert [source.file for source in manifest.sources] == ["encoder.pt"]
