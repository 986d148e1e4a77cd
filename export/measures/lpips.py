"""LPIPS v0.1, the learned perceptual distance of two pictures (Zhang et al., arXiv 1801.03924).

Features of a network that was trained on ImageNet are taken at five depths, scaled to unit length at each position, and
subtracted. Their squares are weighted by a head for each depth, averaged over positions, and added up. The network is
torchvision's VGG16 or AlexNet, the heads are those of the ``lpips`` package; the files decide which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from export.checkpoints.checkpoint import Checkpoint, tensors_of
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.validation import Shape, check_finite, check_shapes

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and standard deviation, for pictures in -1..1, as the heads were trained."""

_EPSILON = 1e-10
"""Added to a length as in the official code, so that features of zeros are not divided by 0."""


class Backbone(nn.Module):
    """The convolutions of a network, and the positions of the layers after which features are taken.

    Layers have torchvision's positions, and parameters therefore its names.
    """

    def __init__(self, layers: Sequence[nn.Module], taps: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps = taps

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the features at each depth."""
        convolutions = (self.features[tap - 1] for tap in self.taps)
        return tuple(layer.out_channels for layer in convolutions if isinstance(layer, nn.Conv2d))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features, float32 [N, 3, H, W] -> five tensors [N, C, h, w]."""
        taken = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in self.taps:
                taken.append(x)
        return taken


class Lpips(nn.Module):
    """LPIPS with frozen weights; differentiable in both pictures."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, heads: Sequence[Tensor]) -> None:
        """Take a network, and the weights of its channels at each depth, [C]."""
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList([nn.Parameter(head) for head in heads])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Compute the distances of corresponding pictures, float32 [N, 3, H, W] in -1..1 -> [N]."""
        return self.distance(self.unit_features(a), self.unit_features(b))

    def unit_features(self, pictures: Tensor) -> list[Tensor]:
        """Compute the features of unit length of pictures in -1..1, which can be compared with many others'."""
        return [_unit(level) for level in self.backbone((pictures - self.shift) / self.scale)]

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Compute the distances of pictures whose unit features are ``a`` and ``b``, [N]."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for x, y, head in zip(a, b, self.heads, strict=True):
            total = total + torch.einsum("nchw,c->nhw", (x - y) ** 2, head).mean((1, 2))
        return total


def _unit(features: Tensor) -> Tensor:
    # The gradient of vector_norm is 0 where all channels are 0; that of a square root would be NaN.
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + _EPSILON)


def vgg16() -> Backbone:
    """The convolutions of VGG16 (Simonyan & Zisserman, arXiv 1409.1556), without weights."""
    layers: list[nn.Module] = []
    widths = (3, 64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
    inputs = widths[0]
    for width in widths[1:]:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1, device="meta"), nn.ReLU()]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    return Backbone(layers, (3, 8, 15, 22, 29))


def alexnet() -> Backbone:
    """The convolutions of AlexNet (Krizhevsky, arXiv 1404.5997), without weights."""
    layers = [
        nn.Conv2d(3, 64, 11, 4, 2, device="meta"), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2, device="meta"), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1, device="meta"), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, device="meta"), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1, device="meta"), nn.ReLU(),
    ]  # fmt: skip
    return Backbone(layers, (1, 4, 7, 9, 11))


def read_lpips(network: Path, heads: Path) -> Lpips:
    """Read LPIPS from torchvision's file of VGG16 or AlexNet, and the ``lpips`` package's file of heads.

    Args:
        network: for example ``vgg16-397923af.pth`` or ``alexnet-owt-7be5be79.pth``.
        heads: ``vgg.pth`` or ``alex.pth`` of the folder ``v0.1``.

    Raises:
        CheckpointError: a file is damaged, unsafe, holds another network, or the heads are those of the other network.
    """
    checkpoint = open_checkpoint(network)
    backbone = _backbone(checkpoint)
    return Lpips(backbone, _heads(open_checkpoint(heads), backbone))


def _backbone(checkpoint: Checkpoint) -> Backbone:
    context = checkpoint.context
    state = tensors_of(context, checkpoint.content, "VGG16 or AlexNet")
    # The layers behind the convolutions tell the classes of ImageNet.
    kept = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    backbone = alexnet() if "features.0.weight" in kept and kept["features.0.weight"].shape[-1:] == (11,) else vgg16()
    expected = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    check_shapes(context, kept, expected, "VGG16 or AlexNet of torchvision")
    arrays = {name: tensor.array() for name, tensor in kept.items()}
    check_finite(context, arrays)
    backbone.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, assign=True)
    return backbone


def _heads(checkpoint: Checkpoint, backbone: Backbone) -> list[Tensor]:
    context = checkpoint.context
    state = tensors_of(context, checkpoint.content, "the heads of LPIPS")
    expected: dict[str, Shape] = {
        f"lin{depth}.model.1.weight": (1, width, 1, 1) for depth, width in enumerate(backbone.widths)
    }
    check_shapes(context, state, expected, "file of the heads that belong to this network, vgg.pth or alex.pth")
    arrays = {name: state[name].array() for name in expected}
    check_finite(context, arrays)
    return [torch.from_numpy(array).flatten() for array in arrays.values()]
