"""Files of LPIPS in the layouts of torchvision and of the ``lpips`` package, with random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch
from checkpoint_files import Array, saved, state_dict, torch_tensors
from deterministic_weights import Shape, random_array

NetworkName = Literal["vgg16", "alexnet"]

CONVOLUTIONS: dict[NetworkName, dict[int, Shape]] = {
    "vgg16": {
        position: (outputs, inputs, 3, 3)
        for position, inputs, outputs in (
            (0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256),
            (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512),
        )
    },
    "alexnet": {
        0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3),
    },
}  # fmt: skip
"""The shapes of torchvision's convolutions by their position in ``features``."""

DEPTHS: dict[NetworkName, tuple[int, ...]] = {"vgg16": (64, 128, 256, 512, 512), "alexnet": (64, 192, 384, 256, 256)}


@cache
def network_state(network: NetworkName) -> dict[str, torch.Tensor]:
    """The state dict of a network, with a part of the layers that LPIPS does not use."""
    shapes: dict[str, Shape] = {}
    for position, shape in CONVOLUTIONS[network].items():
        shapes |= {f"features.{position}.weight": shape, f"features.{position}.bias": shape[:1]}
    shapes["classifier.6.bias"] = (1000,)
    return torch_tensors(state_dict("lpips", shapes, _value))


def heads_state(network: NetworkName) -> dict[str, torch.Tensor]:
    """The state dict of the heads, whose weights are positive."""
    widths = enumerate(DEPTHS[network])
    shapes: dict[str, Shape] = {f"lin{depth}.model.1.weight": (1, width, 1, 1) for depth, width in widths}
    return torch_tensors({name: abs(array) for name, array in state_dict("lpips", shapes, random_array).items()})


def write_lpips(folder: Path, network: NetworkName) -> tuple[Path, Path]:
    """Write the file of a network and the file of its heads."""
    return (
        saved(folder / f"{network}.pth", network_state(network)),
        saved(folder / f"{network}_heads.pth", heads_state(network)),
    )


def _value(seed: str, name: str, shape: Shape) -> Array:
    scale = 0.1 if len(shape) == 1 else (2 * shape[0] / torch.Size(shape).numel()) ** 0.5
    return (scale * random_array(seed, name, shape)).astype("float32")
