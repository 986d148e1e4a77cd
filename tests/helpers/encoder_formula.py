"""The pSp and e4e encoders as their official code defines them.

Written from the formulas on the official state dict, in float64, without this package's network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]


def official_encoding(state: State, faces: Tensor, *, e4e: bool) -> Tensor:
    """The encoder without the average latent: pictures [N, 3, 256, 256] in -1..1 -> codes [N, L, D]."""
    state = {name: value.double() for name, value in state.items()}
    maps = irse50_maps(state, faces)
    coarse = maps[23]
    middle = _enlarged(coarse) + functional.conv2d(maps[20], *_pair(state, "latlayer1"))
    fine = _enlarged(middle) + functional.conv2d(maps[6], *_pair(state, "latlayer2"))
    count = len({name.split(".")[1] for name in state if name.startswith("styles.")})
    levels = [coarse] * 3 + [middle] * 4 + [fine] * (count - 7)
    rows = torch.stack([style_head(state, f"styles.{row}", levels[row]) for row in range(count)], 1)
    return torch.cat([rows[:, :1], rows[:, :1] + rows[:, 1:]], 1) if e4e else rows


def irse50_maps(state: State, x: Tensor) -> list[Tensor]:
    """The output of each of IR-SE-50's 24 residual units."""
    x = functional.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = functional.prelu(batch_norm(state, "input_layer.1", x), state["input_layer.2.weight"])
    maps = []
    for unit in range(24):
        x = _unit(state, f"body.{unit}", x, stride=2 if unit in (0, 3, 7, 21) else 1)
        maps.append(x)
    return maps


def _unit(state: State, name: str, x: Tensor, stride: int) -> Tensor:
    res = functional.conv2d(batch_norm(state, f"{name}.res_layer.0", x), state[f"{name}.res_layer.1.weight"], padding=1)
    res = functional.prelu(res, state[f"{name}.res_layer.2.weight"])
    res = functional.conv2d(res, state[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
    res = batch_norm(state, f"{name}.res_layer.4", res)
    squeezed = functional.conv2d(res.mean((2, 3), keepdim=True), state[f"{name}.res_layer.5.fc1.weight"]).relu()
    res = res * functional.conv2d(squeezed, state[f"{name}.res_layer.5.fc2.weight"]).sigmoid()
    if f"{name}.shortcut_layer.0.weight" not in state:
        return res + functional.max_pool2d(x, 1, stride)
    shortcut = functional.conv2d(x, state[f"{name}.shortcut_layer.0.weight"], stride=stride)
    return res + batch_norm(state, f"{name}.shortcut_layer.1", shortcut)


def style_head(state: State, name: str, x: Tensor) -> Tensor:
    """The code of a style head, [N, D]; each of its convolutions halves the map's side, down to one pixel."""
    layer = 0
    while f"{name}.convs.{layer}.weight" in state:
        x = functional.leaky_relu(
            functional.conv2d(x, *_pair(state, f"{name}.convs.{layer}"), stride=2, padding=1), 0.01
        )
        layer += 2
    return equal_linear(state, f"{name}.linear", x.flatten(1))


def equal_linear(state: State, name: str, x: Tensor) -> Tensor:
    """A linear layer with the equalised learning rate."""
    weight, bias = _pair(state, name)
    return functional.linear(x, weight / weight.shape[1] ** 0.5, bias)


def _enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    """Batch normalisation for inference."""
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return functional.batch_norm(x, mean, variance, *_pair(state, name))


def _pair(state: State, name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]
