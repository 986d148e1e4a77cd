"""Detection of the network that a file holds, and the report about it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import (
    encoder_checkpoint,
    isf_state,
    nvlabs_pickle,
    rosinality_state,
    saved,
    torch_tensors,
    written,
)
from generators import random_generator

from engines.contract.errors import CheckpointError
from engines.contract.tensors import ISF_ATTRIBUTES
from export.checkpoints import (
    describe,
    read_checkpoint,
    read_encoder,
    read_generator,
    read_isf,
)
from export.weights import EncoderWeights, GeneratorWeights, IsfWeights


@pytest.fixture(scope="module")
def generator() -> GeneratorWeights:
    return random_generator(16, 4, w_dim=8, mapping_depth=3)


def test_what_a_file_holds_is_detected(tmp_path: Path, generator: GeneratorWeights) -> None:
    encoder = saved(tmp_path / "encoder.pt", encoder_checkpoint())
    isf = saved(tmp_path / "isf.ckpt", torch_tensors(isf_state()))
    pickled = written(tmp_path / "network.pkl", nvlabs_pickle(generator))
    assert isinstance(read_checkpoint(encoder), EncoderWeights)
    assert isinstance(read_checkpoint(isf), IsfWeights)
    assert isinstance(read_checkpoint(pickled), GeneratorWeights)
    with pytest.raises(CheckpointError, match="got an ISF head, expected a generator"):
        read_generator(isf)
    with pytest.raises(CheckpointError, match="got an encoder, expected an ISF head"):
        read_isf(encoder)
    with pytest.raises(CheckpointError, match="got a generator, expected an encoder"):
        read_encoder(pickled)
    with pytest.raises(CheckpointError, match="got a generator, expected an ISF head"):
        read_isf(saved(tmp_path / "ros.pt", {"g_ema": torch_tensors(rosinality_state())}))
    with pytest.raises(CheckpointError, match="got no network that is known here, expected an encoder"):
        read_encoder(saved(tmp_path / "other.pt", {"state_dict": torch_tensors({"conv.weight": np.zeros(3)})}))


def test_a_report_says_what_a_generator_is(tmp_path: Path) -> None:
    original = random_generator(16, {4: 8, 8: 8, 16: 4}, w_dim=8, mapping_depth=3, conv_clamp=256)
    path = written(tmp_path / "network.pkl", nvlabs_pickle(original, fp16_from=8))
    report = describe(path)
    assert json.loads(json.dumps(report.as_json())) == {
        "kind": "generator",
        "format": "NVlabs (pickle)",
        "sha256": read_generator(path).source.sha256,
        "architecture": "StyleGAN2, skip connections",
        "rows": 6,
        "w_dim": 8,
        "resolution": 16,
        "channels": {"4": 8, "8": 8, "16": 4},
        "mapping_depth": 3,
        "noise": "stored",
        "conv_clamp": 256.0,
        "fp16_from": 8,
        "w_avg": True,
        "attributes": None,
        "noise_size": None,
        "steps": None,
        "notes": [],
        "left_out": [],
    }


def test_reports_of_encoders_and_isf_heads_leave_out_what_does_not_apply(tmp_path: Path) -> None:
    encoder = describe(saved(tmp_path / "encoder.pt", encoder_checkpoint()))
    assert (encoder.kind, encoder.architecture, encoder.rows, encoder.resolution) == (
        "encoder",
        "e4e, IR-SE-50",
        18,
        1024,
    )
    assert (encoder.w_avg, encoder.conv_clamp, encoder.attributes) == (True, None, None)
    isf = describe(saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(isf_state())}))
    assert (isf.kind, isf.architecture, isf.attributes) == ("isf", "ISF, adaln, pre-norm", ISF_ATTRIBUTES)
    assert (isf.noise_size, isf.resolution, isf.w_avg) == (64, None, None)
