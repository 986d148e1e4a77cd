"""Written checkpoints are ordinary files, or none: permissions and full disks."""

from __future__ import annotations

import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from generators import random_generator

from engines.contract.errors import ExportError
from export.checkpoints import write_generator_safetensors, write_rosinality

SMALL = random_generator(8, 2, w_dim=4)

both = pytest.mark.parametrize("write", [write_generator_safetensors, write_rosinality])


@both
def test_a_written_checkpoint_has_the_permissions_of_any_new_file(tmp_path: Path, write: Callable[..., None]) -> None:
    (tmp_path / "ordinary").touch()
    write(SMALL, tmp_path / "network")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@both
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, write: Callable[..., None]) -> None:
    with pytest.raises(ExportError, match="got 'File too large' while it was written"), files_of_at_most(2000):
        write(SMALL, tmp_path / "network")
    assert not any(tmp_path.iterdir())
