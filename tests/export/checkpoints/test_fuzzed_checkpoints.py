"""Checkpoints with random bytes changed are read or refused, without any other error or a crash."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_files import isf_state, nvlabs_pickle, saved, tensorflow_pickle, torch_tensors, torch_zip
from generators import random_generator
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan1_files import tensorflow_file, variables

from engines.contract.errors import CheckpointError
from export.checkpoints import read_checkpoint, write_generator_safetensors, write_rosinality

SMALL = random_generator(8, 2, w_dim=4)

Changes = list[tuple[int, int]]


def zip_file(path: Path) -> bytes:
    write_rosinality(SMALL, path)
    return path.read_bytes()


def legacy_file(path: Path) -> bytes:
    return saved(path, {"mapnet": torch_tensors(isf_state(1))}, legacy=True).read_bytes()


def safetensors_file(path: Path) -> bytes:
    write_generator_safetensors(SMALL, path)
    return path.read_bytes()


def plain_pickle(_: Path) -> bytes:
    return pickle.dumps(torch_tensors({"x": SMALL.tensors["synthesis.4.const"]}))


def fuzz(path: Path, original: bytes, file_from: Callable[[bytes], bytes] = bytes) -> None:
    """Change up to six bytes of ``original``, half of them near its beginning, and read ``file_from`` of the result."""
    anywhere, early = st.integers(0, len(original) - 1), st.integers(0, min(len(original), 2000) - 1)

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(st.lists(st.tuples(anywhere | early, st.integers(0, 255)), min_size=1, max_size=6))
    def read_changed(changes: Changes) -> None:
        content = bytearray(original)
        for position, byte in changes:
            content[position] = byte
        path.write_bytes(file_from(bytes(content)))
        sentence = ""
        try:
            read_checkpoint(path, attributes=("a", "b", "c", "d"))
        except CheckpointError as error:
            sentence = str(error)
        assert len(sentence) < 1000

    read_changed()


def stylegan1_pickle(path: Path) -> bytes:
    return tensorflow_file(path, variables(channels={4: 2, 8: 2}, depth=1)).read_bytes()


@pytest.mark.parametrize("file", [zip_file, legacy_file, safetensors_file, plain_pickle, stylegan1_pickle])
def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path: Path, file: Callable[[Path], bytes]) -> None:
    fuzz(tmp_path / "network.pt", file(tmp_path / "original.pt"))


@pytest.mark.parametrize("pickled", [nvlabs_pickle, tensorflow_pickle])
def test_a_pickle_of_nvidias_with_changed_bytes_is_read_or_refused(
    tmp_path: Path, pickled: Callable[..., bytes]
) -> None:
    fuzz(tmp_path / "network.pkl", pickled(SMALL))


def test_a_zip_file_whose_pickle_has_changed_bytes_is_read_or_refused(tmp_path: Path) -> None:
    # The CRC-32 detects accidental changes only; an attacker writes a new one.
    zip_file(tmp_path / "original.pt")
    with zipfile.ZipFile(tmp_path / "original.pt") as archive:
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    fuzz(tmp_path / "network.pt", members.pop("data.pkl"), lambda pickled: torch_zip(pickled, members))
