"""A small generator in PyTorch, with the fused kernels in Triton's interpreter or on a GPU, or by plain formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.torch.generator import TorchGenerator
from engines.torch.layer_backends import FusedBackend, LayerBackend, ReferenceBackend

BACKENDS: dict[str, LayerBackend] = {
    "kernels": FusedBackend(fused_from=16),
    "half": ReferenceBackend(torch.float16),
    "single": ReferenceBackend(torch.float32),
}
"""How the generator's layers run; "kernels" runs the resolutions 16 and 32 as the usual generator runs 512 and 1024."""


def pictures(model: Path, backend: str, w: NDArray[np.float32], psi: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The generator's pictures on the CPU."""
    generator = TorchGenerator(generator_weights_from_graph(read_graph(model)), BACKENDS[backend], torch.device("cpu"))
    image: NDArray[np.uint8] = generator({"w": torch.tensor(w), "psi": torch.tensor(psi)})["image"].numpy()
    return image
