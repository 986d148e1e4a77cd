"""Checkpoint files with changed bytes: each is read, or refused in one sentence."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checkpoint_files import isf_state, nvlabs_pickle, saved, tensorflow_pickle, torch_tensors
from fuzzer import Check, Fuzzer
from generators import random_generator

from engines.contract.errors import CheckpointError
from export.checkpoints import read_checkpoint, write_generator_safetensors, write_rosinality


@functools.cache
def originals() -> tuple[bytes, ...]:
    """One small file of each format that is read."""
    generator = random_generator(8, 2, w_dim=4)
    with tempfile.TemporaryDirectory() as folder:
        rosinality, safetensors = Path(folder) / "network.pt", Path(folder) / "network.safetensors"
        write_rosinality(generator, rosinality)
        write_generator_safetensors(generator, safetensors)
        legacy = saved(Path(folder) / "legacy.pt", {"mapnet": torch_tensors(isf_state(1))}, legacy=True)
        files = [path.read_bytes() for path in (rosinality, safetensors, legacy)]
    return (*files, nvlabs_pickle(generator), tensorflow_pickle(generator))


def make(source: random.Random) -> bytes:
    """One of the files with up to six bytes changed, half of them near its beginning."""
    content = bytearray(source.choice(originals()))
    for _ in range(source.randint(1, 6)):
        end = len(content) if source.random() < 0.5 else min(len(content), 2000)
        content[source.randrange(end)] = source.randrange(256)
    return bytes(content)


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check writes its input into ``folder`` and reads it as a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "network.pt"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        sentence = ""
        try:
            read_checkpoint(path, attributes=("a", "b", "c", "d"))
        except CheckpointError as error:
            sentence = str(error)
        assert len(sentence) < 1000

    yield check


FUZZER = Fuzzer("checkpoints", make, checking, short=300)
