"""ISF checkpoints in all their variants."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from checkpoint_files import (
    assert_same,
    isf_state,
    saved,
    torch_tensors,
)

from engines.contract.errors import CheckpointError
from engines.contract.tensors import ISF_ATTRIBUTES
from export.checkpoints import (
    read_isf,
    write_isf,
)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("norm", ["adaln", "adain", "none"])
@pytest.mark.parametrize("heads", [18, 14, 1])
def test_every_variant_of_the_isf_head_is_read(tmp_path: Path, heads: int, norm: str, pre_norm: bool) -> None:
    state = isf_state(heads, norm=norm, pre_norm=pre_norm)
    path = saved(tmp_path / "050000_nets_ema.ckpt", {"mapnet": OrderedDict(torch_tensors(state))})
    weights = read_isf(path)
    assert_same(weights.tensors, state)
    assert (weights.rows, weights.norm, weights.pre_norm, weights.noise_size) == (heads, norm, pre_norm, 64)
    assert weights.attributes == ISF_ATTRIBUTES


def test_the_discriminator_tells_the_number_of_attributes(tmp_path: Path) -> None:
    mapnet = torch_tensors({f"module.{name}": value for name, value in isf_state(attributes=6).items()})
    discriminator = {"module.out_cls.3.weight": torch.zeros(2, 5, 1, 1)}
    path = saved(tmp_path / "isf.ckpt", {"mapnet": mapnet, "discriminator": discriminator})
    weights = read_isf(path, ("cat", "dog"), residual=True)
    assert (weights.attributes, weights.noise_size, weights.residual) == (("cat", "dog"), 68, True)
    with pytest.raises(CheckpointError, match="the attributes cat, expected 2 different names"):
        read_isf(path, ("cat",))
    with pytest.raises(CheckpointError, match=r"2 attributes whose names no checkpoint records.*give --attributes"):
        read_isf(path)


def test_attributes_of_an_unusual_head_have_to_be_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "isf.ckpt", {"mapnet": torch_tensors(isf_state(attributes=1))})
    with pytest.raises(CheckpointError, match=r"an unknown number of attributes.*give --attributes"):
        read_isf(path)
    assert read_isf(path, ("dog",)).noise_size == 64


def test_a_written_isf_head_reads_back(tmp_path: Path) -> None:
    original = read_isf(saved(tmp_path / "in.ckpt", {"mapnet": torch_tensors(isf_state())}))
    write_isf(original, tmp_path / "out.ckpt")
    assert_same(read_isf(tmp_path / "out.ckpt").tensors, original.tensors)
