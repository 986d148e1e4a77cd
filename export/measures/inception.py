"""Inception v3 as FID uses it: pictures to 2048 features (Szegedy et al., arXiv 1512.00567).

The weights are those of TensorFlow's ``inception-2015-12-05`` in the form that pytorch-fid publishes, whose average
pooling does not count the padding and whose last block pools by the maximum. Parameters have torchvision's names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engines.contract.arrays import Pictures
from export.checkpoints.checkpoint import tensors_of
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.validation import check_finite, check_shapes

_SIDE = 299
"""Side in pixels of the network's input."""

_MEAN, _MAXIMUM = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.MaxPool2d(3, 1, 1)
_HALVING = nn.MaxPool2d(3, 2)


@dataclass(frozen=True)
class Convolution:
    """A convolution of a block: name, output channels, and kernel (height, width); ``stride`` 2 is without padding."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = Sequence[Convolution | nn.Module | tuple[Convolution, Convolution]]
"""Layers one after the other; a pair is applied side by side, and its outputs are joined."""


class Unit(nn.Module):
    """Convolution, batch normalisation and ReLU."""

    def __init__(self, channels_in: int, layer: Convolution, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, layer.channels, layer.kernel, layer.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(layer.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, whose outputs are joined."""

    def __init__(self, channels_in: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.channels = sum(self._add_branch(channels_in, branch) for branch in branches)

    def _add_branch(self, channels: int, branch: Branch) -> int:
        for layer in branch:
            if not isinstance(layer, nn.Module):
                pair = layer if isinstance(layer, tuple) else (layer,)
                for each in pair:
                    height, width = each.kernel
                    padding = (height // 2, width // 2) if each.stride == 1 else (0, 0)
                    self.add_module(each.name, Unit(channels, each, padding))
                channels = sum(each.channels for each in pair)
        return channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run_branch(x, branch) for branch in self.branches], 1)

    def _run_branch(self, x: Tensor, branch: Branch) -> Tensor:
        for layer in branch:
            if isinstance(layer, nn.Module):
                x = layer(x)
            else:
                pair = layer if isinstance(layer, tuple) else (layer,)
                x = torch.cat([self.get_submodule(each.name)(x) for each in pair], 1)
        return x


class Inception(nn.Module):
    """The network up to its last pooling."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            channels = 3
            for layer in (
                Convolution("Conv2d_1a_3x3", 32, (3, 3), 2),
                Convolution("Conv2d_2a_3x3", 32, (3, 3)),
                Convolution("Conv2d_2b_3x3", 64, (3, 3)),
                Convolution("Conv2d_3b_1x1", 80),
                Convolution("Conv2d_4a_3x3", 192, (3, 3)),
            ):
                padding = (1, 1) if layer.name == "Conv2d_2b_3x3" else (0, 0)
                self.add_module(layer.name, Unit(channels, layer, padding))
                channels = layer.channels
            for name, branches in _blocks().items():
                block = Block(channels, branches)
                self.add_module(name, block)
                channels = block.channels

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features of pictures [N, 3, 299, 299] in -1..1 -> [N, 2048]."""
        for name, layer in self.named_children():
            x = layer(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = _HALVING(x)
        return x.mean((2, 3))

    def features(self, pictures: Pictures) -> NDArray[np.float32]:
        """Compute the features of pictures of any size, uint8 [N, H, W, 3] -> float32 [N, 2048].

        They are resized bicubically with an antialiasing filter, as clean-fid does (Parmar et al., arXiv 2104.11222).
        """
        levels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        levels = functional.interpolate(levels, (_SIDE, _SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        with torch.no_grad():
            features: NDArray[np.float32] = self((levels - 128) / 128).numpy()
        return features


def read_inception(path: Path) -> Inception:
    """Read ``pt_inception-2015-12-05-6726825d.pth``, which pytorch-fid publishes.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds another network.
    """
    checkpoint = open_checkpoint(path)
    context = checkpoint.context
    inception = Inception()
    expected = {
        name: tuple(value.shape)
        for name, value in inception.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state = tensors_of(context, checkpoint.content, "Inception v3")
    # The last layer tells classes, the auxiliary one helps in training; counters are of training, too.
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(("fc.", "AuxLogits."))}
    kept = {name: tensor for name, tensor in kept.items() if not name.endswith("num_batches_tracked")}
    check_shapes(context, kept, expected, "Inception v3")
    if "fc.bias" in state and state["fc.bias"].shape != (1008,):
        raise context.error(
            f"Inception v3 for {' x '.join(map(str, state['fc.bias'].shape))} classes",
            expected="that of FID, for 1008 classes",
            remedy="give pt_inception-2015-12-05-6726825d.pth",
        )
    arrays = {name: tensor.array() for name, tensor in kept.items()}
    check_finite(context, arrays)
    inception.to_empty(device="cpu")
    inception.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=False)
    inception.eval().requires_grad_(False)
    return inception


def _blocks() -> dict[str, Sequence[Branch]]:
    return {
        "Mixed_5b": _small(32),
        "Mixed_5c": _small(64),
        "Mixed_5d": _small(64),
        "Mixed_6a": (
            (Convolution("branch3x3", 384, (3, 3), 2),),
            (*_double_3x3(), Convolution("branch3x3dbl_3", 96, (3, 3), 2)),
            (_HALVING,),
        ),
        **{f"Mixed_6{letter}": _long(width) for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)},
        "Mixed_7a": (
            (Convolution("branch3x3_1", 192), Convolution("branch3x3_2", 320, (3, 3), 2)),
            (
                Convolution("branch7x7x3_1", 192),
                Convolution("branch7x7x3_2", 192, (1, 7)),
                Convolution("branch7x7x3_3", 192, (7, 1)),
                Convolution("branch7x7x3_4", 192, (3, 3), 2),
            ),
            (_HALVING,),
        ),
        "Mixed_7b": _wide(_MEAN),
        "Mixed_7c": _wide(_MAXIMUM),
    }


def _double_3x3() -> Branch:
    return Convolution("branch3x3dbl_1", 64), Convolution("branch3x3dbl_2", 96, (3, 3))


def _small(pooled: int) -> Sequence[Branch]:
    return (
        (Convolution("branch1x1", 64),),
        (Convolution("branch5x5_1", 48), Convolution("branch5x5_2", 64, (5, 5))),
        (*_double_3x3(), Convolution("branch3x3dbl_3", 96, (3, 3))),
        (_MEAN, Convolution("branch_pool", pooled)),
    )


def _long(width: int) -> Sequence[Branch]:
    return (
        (Convolution("branch1x1", 192),),
        (
            Convolution("branch7x7_1", width),
            Convolution("branch7x7_2", width, (1, 7)),
            Convolution("branch7x7_3", 192, (7, 1)),
        ),
        (
            Convolution("branch7x7dbl_1", width),
            Convolution("branch7x7dbl_2", width, (7, 1)),
            Convolution("branch7x7dbl_3", width, (1, 7)),
            Convolution("branch7x7dbl_4", width, (7, 1)),
            Convolution("branch7x7dbl_5", 192, (1, 7)),
        ),
        (_MEAN, Convolution("branch_pool", 192)),
    )


def _wide(pooling: nn.Module) -> Sequence[Branch]:
    return (
        (Convolution("branch1x1", 320),),
        (
            Convolution("branch3x3_1", 384),
            (Convolution("branch3x3_2a", 384, (1, 3)), Convolution("branch3x3_2b", 384, (3, 1))),
        ),
        (
            Convolution("branch3x3dbl_1", 448),
            Convolution("branch3x3dbl_2", 384, (3, 3)),
            (Convolution("branch3x3dbl_3a", 384, (1, 3)), Convolution("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pooling, Convolution("branch_pool", 192)),
    )
