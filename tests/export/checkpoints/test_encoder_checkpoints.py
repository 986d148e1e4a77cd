"""pSp and e4e checkpoints: the encoder, its kind and average latent, and the decoder as a generator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    assert_same,
    encoder_checkpoint,
    encoder_state,
    rosinality_state,
    saved,
    torch_tensors,
)
from deterministic_weights import Array

from export.checkpoints import (
    read_encoder,
    read_generator,
    write_encoder,
)


def expected_encoder() -> dict[str, Array]:
    return {name: value for name, value in encoder_state().items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(("name", "kind"), [("GradualStyleEncoder", "psp"), ("Encoder4Editing", "e4e")])
@pytest.mark.parametrize("options", [dict, lambda opts: argparse.Namespace(**opts)])
def test_an_encoder_is_read_with_its_kind_and_average(tmp_path: Path, name: str, kind: str, options: Any) -> None:
    path = saved(tmp_path / "encoder.pt", encoder_checkpoint(opts=options({"encoder_type": name})))
    weights = read_encoder(path)
    assert (weights.kind, weights.rows, weights.w_dim) == (kind, 18, 10)
    assert_same(weights.tensors, expected_encoder())
    np.testing.assert_array_equal(weights.latent_avg, np.tile(np.arange(10, dtype=np.float32), (18, 1)), strict=True)


def test_the_caller_decides_the_kind_where_the_file_is_silent(tmp_path: Path) -> None:
    path = saved(tmp_path / "encoder.pt", encoder_checkpoint(opts={}))
    assert read_encoder(path, kind="psp").kind == "psp"


@pytest.mark.parametrize("average", [torch.arange(10.0), torch.arange(10.0)[None]])
def test_one_average_latent_serves_every_row(tmp_path: Path, average: torch.Tensor) -> None:
    weights = read_encoder(saved(tmp_path / "encoder.pt", encoder_checkpoint(latent_avg=average)))
    np.testing.assert_array_equal(weights.latent_avg, average.expand(18, 10))


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_avg": None, "opts": {"encoder_type": "Encoder4Editing"}},
        {"opts": {"encoder_type": "Encoder4Editing", "start_from_latent_avg": False}},
    ],
)
def test_an_encoder_trained_without_average_adds_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    weights = read_encoder(saved(tmp_path / "encoder.pt", encoder_checkpoint(**changes)))
    assert not weights.latent_avg.any()
    assert weights.notes == ("the encoder was trained without latent_avg; none is added to its codes",)


def test_the_decoder_is_a_generator(tmp_path: Path) -> None:
    average = torch.arange(8.0).repeat(8, 1)
    decoded = read_generator(saved(tmp_path / "e4e.pt", encoder_checkpoint(latent_avg=average)))
    bare = read_generator(saved(tmp_path / "g.pt", {"g_ema": torch_tensors(rosinality_state()), "latent_avg": average}))
    assert_same(decoded.tensors, bare.tensors)
    assert decoded.source.format == "pSp/e4e decoder (zip)"


@pytest.mark.parametrize("half", [False, True])
def test_a_written_encoder_reads_back_and_has_every_official_name(tmp_path: Path, half: bool) -> None:
    original = read_encoder(saved(tmp_path / "in.pt", encoder_checkpoint()))
    write_encoder(original, tmp_path / "out.pt", half=half)
    state = torch.load(tmp_path / "out.pt", weights_only=True)["state_dict"]
    assert state.keys() == {f"encoder.{name}" for name in encoder_state()}
    written = read_encoder(tmp_path / "out.pt")
    expected = {n: a.astype(np.float16).astype(np.float32) if half else a for n, a in original.tensors.items()}
    assert_same(written.tensors, expected)
    assert written.kind == "e4e"
    np.testing.assert_array_equal(written.latent_avg, original.latent_avg)
