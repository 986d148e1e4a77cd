"""A small generator in PyTorch, with the fused kernels in Triton's interpreter or on a GPU, or by plain formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.graph.generator_weights import weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.torch.generator import TorchGenerator
from engines.torch.passes import Fused, Passes, Plain

PASSES: dict[str, Passes] = {
    "kernels": Fused(conv_from=16),
    "half": Plain(torch.float16),
    "single": Plain(torch.float32),
}
"""How the generator's layers run; "kernels" runs the resolutions 16 and 32 as the usual generator runs 512 and 1024."""


def pictures(model: Path, passes: str, w: NDArray[np.float32], psi: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The generator's pictures on the CPU."""
    generator = TorchGenerator(weights_from_graph(read_graph(model)), PASSES[passes], torch.device("cpu"))
    image: NDArray[np.uint8] = generator({"w": torch.tensor(w), "psi": torch.tensor(psi)})["image"].numpy()
    return image
