"""The classifier of attributes: from the discriminator of an ISF checkpoint to an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from checkpoint_files import DATA, isf_state, official_shapes, saved, torch_tensors
from deterministic_weights import Shape, discriminator_value, state_dict

from engines import engine_from_directory
from engines.contract.errors import CheckpointError
from engines.contract.tensors import ISF_ATTRIBUTES
from engines.torch.engine import TorchEngine
from export.build import build_classifier
from export.checkpoints import read_classifier, read_isf, write_isf
from export.networks.classifier import classifier_from_weights
from export.networks.encoder import input_from_face
from export.targets import ExportOptions

RECORDED = "isf_discriminator_public.npz"


def shapes(narrower: int = 1) -> dict[str, Shape]:
    """Shapes of the official discriminator with its channels divided."""
    official = official_shapes(RECORDED)
    return {name: tuple(n // narrower if n >= 64 else n for n in shape) for name, shape in official.items()}


def checkpoint(path: Path, changes: Mapping[str, torch.Tensor | None] = MappingProxyType({})) -> Path:
    """An ISF checkpoint with a narrow discriminator; a tensor that is changed to None is left out."""
    tensors = {**torch_tensors(state_dict("public", shapes(narrower=16), discriminator_value)), **changes}
    discriminator = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return saved(path, {"mapnet": torch_tensors(isf_state()), "discriminator": discriminator})


def test_the_official_discriminators_logits_are_reproduced_under_names_of_data_parallel_training(
    tmp_path: Path,
) -> None:
    tensors = torch_tensors(state_dict("public", shapes(), discriminator_value))
    discriminator = {f"module.{name}": tensor for name, tensor in tensors.items()}
    weights = read_classifier(saved(tmp_path / "isf.ckpt", {"mapnet": {}, "discriminator": discriminator}))
    assert weights.attributes == ISF_ATTRIBUTES
    with np.load(DATA / RECORDED) as recorded:
        face = recorded["face"].repeat(32, 1).repeat(32, 2)
        logits = classifier_from_weights(weights)(input_from_face(torch.from_numpy(face)))
        # Sums are rounded in another order; measured 4e-6.
        np.testing.assert_allclose(logits.numpy(), recorded["logits"], rtol=0, atol=1e-4)


def test_an_exported_classifier_gives_probabilities(tmp_path: Path) -> None:
    weights = read_classifier(checkpoint(tmp_path / "isf.ckpt"))
    manifest = build_classifier(weights, ExportOptions(tmp_path / "classifier", "classifier"), lambda _: None)
    assert (manifest.component, manifest.sizes.attributes) == ("classifier", ISF_ATTRIBUTES)
    face = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    with engine_from_directory(tmp_path / "classifier") as engine:
        probabilities = engine.run({"face": face})["probabilities"]
    expected = torch.sigmoid(classifier_from_weights(weights)(input_from_face(torch.from_numpy(face))))
    np.testing.assert_allclose(probabilities, expected.numpy(), rtol=0, atol=0.02)
    assert probabilities.dtype == np.float32
    with TorchEngine(tmp_path / "classifier/classifier.onnx", manifest.signature, device="cpu") as on_torch:
        np.testing.assert_allclose(on_torch.run({"face": face})["probabilities"], expected.numpy(), rtol=0, atol=1e-5)


def test_a_written_classifier_reads_back(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "in.ckpt")
    original = read_classifier(path)
    write_isf(read_isf(path), tmp_path / "out.ckpt", classifier=original)
    again = read_classifier(tmp_path / "out.ckpt")
    assert again.tensors.keys() == original.tensors.keys()
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in original.tensors.items())


def test_a_checkpoint_without_a_discriminator_has_no_classifier(tmp_path: Path) -> None:
    path = saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(isf_state())})
    with pytest.raises(CheckpointError, match="got an ISF checkpoint without its discriminator"):
        read_classifier(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"main.3.conv1.weight": None}, r"got no tensor 'main\.3\.conv1\.weight'"),
        ({"main.7.conv1.weight": torch.zeros(32, 32, 3, 3)}, r"got the tensor 'main\.7\.conv1\.weight'"),
        (
            {"out_cls.1.weight": torch.zeros(32, 32, 2, 2)},
            r"got a tensor 'out_cls\.1\.weight' of shape \[32, 32, 2, 2\]",
        ),
        ({"main.0.bias": torch.full((4,), torch.nan)}, r"got NaN or infinity in 'main\.0\.bias'"),
    ],
)
def test_another_discriminator_is_refused(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_classifier(checkpoint(tmp_path / "isf.ckpt", changes))


def test_a_wrong_number_of_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got a classifier of 4 attributes and the names cat, dog"):
        read_classifier(checkpoint(tmp_path / "isf.ckpt"), ("cat", "dog"))
