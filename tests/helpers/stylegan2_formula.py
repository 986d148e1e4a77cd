"""StyleGAN2 with skip connections as its paper and official code define it, in float64, on the tensors of a network.

Written from the formulas, without this package's networks: weights are modulated for each sample.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from export.weights import Tensors

FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])).double() / 16


def official_code(tensors: Tensors, z: Tensor, psi: float = 1, embedded: Tensor | None = None) -> Tensor:
    """The mapping network and truncation: a z for every row, [L, Z] -> one W+ code [1, L, D].

    ``embedded`` is the embedding [E] of the class in a conditional network.
    """
    x = _normalised(z)
    if embedded is not None:
        x = torch.cat([x, _normalised(embedded[None]).expand(len(z), -1)], 1)
    for i in range(sum(name.startswith("mapping.") and name.endswith(".weight") for name in tensors)):
        weight, bias = (_tensor(tensors, f"mapping.{i}.{part}") for part in ("weight", "bias"))
        x = functional.leaky_relu(x @ weight.T * (0.01 / weight.shape[1] ** 0.5) + 0.01 * bias, 0.2) * 2**0.5
    w_avg = _tensor(tensors, "mapping.w_avg") if "mapping.w_avg" in tensors else torch.zeros(())
    return (w_avg + psi * (x - w_avg))[None]


def official_picture(tensors: Tensors, w: Tensor, clamp: float | None = None) -> Tensor:
    """The synthesis network: codes [N, L, D] -> pictures [N, 3, R, R], with the noise of the network."""
    resolution = max(int(name.split(".")[1]) for name in tensors if name.startswith("synthesis."))
    samples = [_sample(tensors, code, resolution, clamp or float("inf")) for code in w]
    return torch.cat(samples)


def _sample(tensors: Tensors, rows: Tensor, resolution: int, clamp: float) -> Tensor:
    x, picture = _tensor(tensors, "synthesis.4.const")[None], torch.zeros(())
    row, size = 0, 4
    while size <= resolution:
        for layer in ("up", "conv")[size == 4 :]:
            x = _layer(tensors, f"synthesis.{size}.{layer}", x, rows[row], clamp)
            row += 1
        # toRGB has the row of the next resolution's first layer.
        weight = _modulated(tensors, f"synthesis.{size}.rgb", rows[row])[:, :, None, None]
        rgb = functional.conv2d(x, weight, _tensor(tensors, f"synthesis.{size}.rgb.bias")).clamp(-clamp, clamp)
        picture = rgb if size == 4 else rgb + _filtered(picture, pad=(2, 1))
        size *= 2
    return picture


def _layer(tensors: Tensors, name: str, x: Tensor, w: Tensor, clamp: float) -> Tensor:
    weight = _modulated(tensors, name, w)
    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if name.endswith("up"):
        stretched = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        kernel = FIR.expand(len(weight), 1, 4, 4)
        x = functional.conv2d(functional.pad(stretched, (1, 1, 1, 1)), kernel, groups=len(weight))
    else:
        x = functional.conv2d(x, weight, padding=1)
    x = x + _tensor(tensors, f"{name}.noise") * _tensor(tensors, f"{name}.noise_strength")
    x = x + _tensor(tensors, f"{name}.bias")[:, None, None]
    return (functional.leaky_relu(x, 0.2) * 2**0.5).clamp(-clamp, clamp)


def _modulated(tensors: Tensors, name: str, w: Tensor) -> Tensor:
    affine, bias, weight = (_tensor(tensors, f"{name}.{part}") for part in ("affine.weight", "affine.bias", "weight"))
    style = affine @ w / len(w) ** 0.5 + bias
    style = style.reshape(1, -1, *[1] * (weight.ndim - 2))
    return weight / weight[0].numel() ** 0.5 * style


def _filtered(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """Zeros between the pixels, then the filter."""
    zeros = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    zeros[:, :, ::2, ::2] = x
    return functional.conv2d(functional.pad(zeros, pad * 2), FIR.expand(x.shape[1], 1, 4, 4), groups=x.shape[1])


def _normalised(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _tensor(tensors: Tensors, name: str) -> Tensor:
    return torch.from_numpy(tensors[name]).double()
