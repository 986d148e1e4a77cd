"""A repository whose encoder and generator compute nothing, so that several servers fit on one machine."""

from __future__ import annotations

from pathlib import Path

from engines.contract.tensors import Geometry
from serving.triton.reference_configurations import repository_configs, write_texts
from serving.triton.repository_spec import RepositorySpec, ServedGenerator

SPEC = RepositorySpec(Geometry(64, 16, attributes=()), (ServedGenerator("stand_in", {}),))
SECONDS = 0.02
"""What the generator takes for each batch by default. It waits, as if on an accelerator, and uses no processor."""

_MODEL = """import time

import numpy as np

from serving.triton.adapters import RequestModel


class TritonPythonModel(RequestModel):
    def execute(self, requests):
        time.sleep({seconds})
        return super().execute(requests)

    def answer(self, given):
        (spec,) = self.signature.outputs
        return {{spec.name: np.zeros((len(next(iter(given.values()))), *spec.dims), spec.dtype.numpy)}}
"""


def write_stand_ins(repository: Path, seconds: float = SECONDS) -> None:
    """Write the real ensembles, configurations and steps, around an encoder and a generator of zeros."""
    write_texts(repository, repository_configs(SPEC))
    for model, pause in (("encoder", 0.0), ("generator_stand_in", seconds)):
        (repository / model / "1" / "model.py").write_text(_MODEL.format(seconds=pause))
