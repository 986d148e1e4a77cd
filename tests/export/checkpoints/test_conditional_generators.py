"""Conditional generators: for a fixed class the mapping network gives the codes of the official formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    isf_state,
    nvlabs_pickle,
    rosinality_state,
    saved,
    tensorflow_pickle,
    torch_tensors,
    written,
)
from export_command import Command
from generators import random_generator
from numpy.typing import NDArray
from stylegan2_formula import official_code

from engines.contract.errors import CheckpointError
from export import cli
from export.checkpoints import describe, read_checkpoint, read_generator
from export.demo_face import demo_face
from export.networks.generator import generator_from_weights
from export.weights import GeneratorWeights
from serving.faces.images import write_picture

W_DIM, EMBEDDED, CLASSES = 8, 6, 5
RNG = np.random.default_rng(0)
EMBEDDING = (
    RNG.standard_normal((EMBEDDED, CLASSES)).astype(np.float32),
    RNG.standard_normal(EMBEDDED).astype(np.float32),
)
Z = RNG.standard_normal((4, W_DIM))


def conditional() -> GeneratorWeights:
    """A generator whose mapping network takes z and an embedded label."""
    weights = random_generator(16, 4, w_dim=W_DIM, mapping_depth=3)
    wide = (100 * RNG.standard_normal((W_DIM, W_DIM + EMBEDDED))).astype(np.float32)
    return replace(weights, tensors={**weights.tensors, "mapping.0.weight": wide})


WEIGHTS = conditional()


def official_codes(label: int) -> NDArray[np.float64]:
    """The codes of stylegan2-ada's mapping network for the rows of Z and one class."""
    embedded = EMBEDDING[0][:, label] / np.sqrt(CLASSES) + EMBEDDING[1].astype(float)
    codes: NDArray[np.float64] = official_code(
        WEIGHTS.tensors, torch.from_numpy(Z), embedded=torch.from_numpy(embedded)
    )[0].numpy()
    return codes


def pickled(form: str) -> bytes:
    if form == "PyTorch":
        return nvlabs_pickle(WEIGHTS, c_dim=CLASSES, embedding=EMBEDDING)
    return tensorflow_pickle(WEIGHTS, label_size=CLASSES, embedding=EMBEDDING)


@pytest.fixture(scope="module", params=["PyTorch", "TensorFlow"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("conditional") / "network.pkl", pickled(request.param))


@pytest.mark.parametrize("label", [0, 3])
def test_a_class_gives_the_codes_of_the_official_formula(file: Path, label: int) -> None:
    weights = read_generator(file, label)
    mapping = generator_from_weights(weights).double().mapping
    with torch.no_grad():
        codes = mapping(torch.from_numpy(Z)).numpy()
    np.testing.assert_allclose(codes, official_codes(label), rtol=0, atol=1e-6)
    assert weights.notes == (f"class {label} of 5 is folded into the mapping network",)
    assert (weights.z_dim, weights.source.left_out) == (W_DIM, ())


def test_classes_differ_in_their_codes_only(file: Path) -> None:
    first, second = (read_generator(file, label).tensors for label in (0, 1))
    different = {name for name in first if not np.array_equal(first[name], second[name])}
    assert different == {"mapping.0.bias"}


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (None, "got a conditional generator of 5 classes and no class, expected one of its classes, .* give --label N"),
        (5, "got a conditional generator of 5 classes and --label 5, .* give --label N with N from 0 to 4"),
        (-1, "got a conditional generator of 5 classes and --label -1"),
    ],
)
def test_a_class_that_is_missing_or_wrong_is_refused(file: Path, label: int | None, sentence: str) -> None:
    for read in (read_generator, lambda path, label: describe(path, label=label)):
        with pytest.raises(CheckpointError, match=sentence):
            read(file, label)


def test_a_class_for_a_network_without_classes_is_refused(tmp_path: Path) -> None:
    plain = random_generator(16, 4, w_dim=W_DIM)
    files = [
        written(tmp_path / "nvlabs.pkl", nvlabs_pickle(plain)),
        written(tmp_path / "tensorflow.pkl", tensorflow_pickle(plain)),
        saved(tmp_path / "rosinality.pt", {"g_ema": torch_tensors(rosinality_state())}),
        saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(isf_state())}),
    ]
    for file in files:
        with pytest.raises(CheckpointError, match="got --label 3 for a network without classes"):
            read_checkpoint(file, label=3)


@pytest.mark.parametrize(
    "embedding",
    [
        (np.ones((EMBEDDED, CLASSES), np.float32), np.ones(EMBEDDED + 1, np.float32)),
        (np.ones(EMBEDDED, np.float32), np.ones(EMBEDDED, np.float32)),
        (np.ones((W_DIM + EMBEDDED, CLASSES), np.float32), np.ones(W_DIM + EMBEDDED, np.float32)),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused(
    tmp_path: Path, embedding: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    path = written(tmp_path / "network.pkl", nvlabs_pickle(WEIGHTS, c_dim=CLASSES, embedding=embedding))
    with pytest.raises(CheckpointError, match=r"an embedding of labels of the shapes .*, expected \[E, C\] and \[E\]"):
        read_generator(path, 0)


@pytest.mark.parametrize("bias", [None, np.ones(3, np.float32), np.ones((), np.float32)], ids=["none", "other", "one"])
def test_a_first_layer_that_does_not_fit_is_refused(tmp_path: Path, bias: NDArray[np.float32] | None) -> None:
    kept = {name: value for name, value in WEIGHTS.tensors.items() if bias is not None or "mapping." not in name}
    weights = replace(WEIGHTS, tensors=kept | ({} if bias is None else {"mapping.0.bias": bias}))
    path = written(tmp_path / "network.pkl", nvlabs_pickle(weights, c_dim=CLASSES, embedding=EMBEDDING))
    with pytest.raises(CheckpointError, match="before a first layer of the shapes"):
        read_generator(path, 0)


def test_a_sum_that_overflows_is_refused(tmp_path: Path) -> None:
    wide = np.full_like(WEIGHTS.tensors["mapping.0.weight"], 3e38)
    weights = replace(WEIGHTS, tensors={**WEIGHTS.tensors, "mapping.0.weight": wide})
    ones = np.zeros((EMBEDDED, CLASSES), np.float32), np.ones(EMBEDDED, np.float32)
    path = written(tmp_path / "network.pkl", nvlabs_pickle(weights, c_dim=CLASSES, embedding=ones))
    with pytest.raises(CheckpointError, match=r"NaN or infinity in 'mapping\.0\.bias'"):
        read_generator(path, 1)


def test_the_command_folds_the_class(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(file), f"{tmp_path}/class.safetensors", "--label", "2"]
    monkeypatch.setattr("sys.argv", ["toonify-export", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, capsys.readouterr().err
    assert read_generator(tmp_path / "class.safetensors").notes == ("class 2 of 5 is folded into the mapping network",)


def test_every_command_that_reads_generators_takes_the_class(command: Command, file: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "face.png", demo_face())
    measure = ("measure", "--generator", file, "--count", 2)
    project = ("project", "face.png", "-o", "face.npz", "--generator", file, "--align", "none", "--steps", 1)
    for arguments in (measure, project):
        code, _, err = command(*arguments)
        assert (code, "give --label N with N from 0 to 4" in err) == (1, True)
        code, _, err = command(*arguments, "--label", 1)
        assert (code, "got" in err) == (0, False), err


def test_the_generator_of_an_encoder_may_be_conditional(command: Command, file: Path) -> None:
    arguments = ("encoder", "--output", "encoder", "--engine", "onnxruntime")
    code, _, err = command(*arguments, "--generator", file)
    assert (code, "give --label N with N from 0 to 4" in err) == (1, True)
    code, _, err = command(*arguments, "--generator", file, "--label", 1)
    # The class is taken, and the demo's encoder has other codes.
    assert (code, "network.pkl: got codes of 6 rows of 8" in err) == (1, True), err
    code, _, err = command(*arguments, "--label", 0)
    assert (code, "--label 0: got no --generator" in err) == (1, True), err
    assert not Path("encoder").exists()
