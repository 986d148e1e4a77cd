"""``python -m benchmarks.gpu.prepare``: computes the references of a GPU run here, for a machine whose time is short.

They are one file, which travels with the working tree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.gpu.preparation import origin_of_references
from benchmarks.machine import tracked_files
from benchmarks.networks import FULL, TINY, Scale, models_for
from benchmarks.reference import write_reference_data
from engines.contract.atomic import atomic_file

PREPARED = Path("build/bench-gpu.npz")
LIMIT_MIB = 64
"""Most MiB of the working tree and the file together."""


def prepare(scale: Scale, path: Path, folder: Path) -> None:
    """Write the references of one scale to ``path``; what is computed on the way is kept in ``folder``."""
    models = models_for(scale, folder)
    models.folder.mkdir(parents=True, exist_ok=True)
    if not models.reference_file.exists():
        write_reference_data(models)
    with np.load(models.reference_file) as file:
        arrays = dict(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, force=True) as partial_file, partial_file.open("wb") as opened:
        np.savez_compressed(opened, **arrays, origin=np.array(origin_of_references(scale)))


def main() -> None:
    """Run the command; the exit code is 1 where file and tree are too large together."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.prepare", description=__doc__)
    parser.add_argument("--output", type=Path, default=PREPARED, help="the file; default: %(default)s")
    parser.add_argument("--models", type=Path, default=Path("build/benchmarks"), help="folder of computed references")
    parser.add_argument("--quick", action="store_true", help="tiny networks, for a run with --quick")
    given = parser.parse_args()
    prepare(TINY if given.quick else FULL, given.output, given.models)
    size, tree = (sum(p.stat().st_size for p in paths) / 2**20 for paths in ([given.output], tracked_files()))
    sys.stdout.write(f"{given.output}: {size:.1f} MiB; the working tree: {tree:.1f} MiB\n")
    if size + tree > LIMIT_MIB:
        raise SystemExit(f"error: {given.output}: got {size + tree:.0f} MiB with the tree, expected {LIMIT_MIB}")


if __name__ == "__main__":
    main()
