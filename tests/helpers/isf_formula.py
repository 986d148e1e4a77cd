"""The ISF head's MappingNetwork in all variants, as its official code defines it.

Written from the formulas on the official state dict, in float64, without this package's network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]


def official_edit(state: State, w: Tensor, z: Tensor, attributes: Tensor, *, residual: bool) -> Tensor:
    """The edited codes: w [N, L, D], z [N, Z], attributes [N, A] -> [N, L, D]; the variant shows in the names."""
    state = {name: value.double() for name, value in state.items()}
    pre_norm = state["w_net.fc.0.weight"].ndim == 1
    h = functional.linear(torch.cat([z, attributes], 1), *_pair(state, "w_net.z_net.shared.0")).relu()
    for block in (2, 5, 8):
        if pre_norm:
            h = functional.linear(
                _layer_norm(state, f"w_net.z_net.shared.{block}", h), *_pair(state, f"w_net.z_net.shared.{block + 1}")
            ).relu()
        else:
            h = functional.linear(h, *_pair(state, f"w_net.z_net.shared.{block}")).relu()
            h = _layer_norm(state, f"w_net.z_net.shared.{block + 2}", h)
    heads = len({name.split(".")[3] for name in state if ".unshared." in name})
    conditions = torch.stack([_head(state, head, h) for head in range(heads)], 1)
    x = _conditioned(state, w, conditions)
    for linear in (1, 4, 7) if pre_norm else (0, 3, 6):
        if pre_norm:
            x = _layer_norm(state, f"w_net.fc.{linear - 1}", x)
        elif linear:
            x = _layer_norm(state, f"w_net.fc.{linear - 1}", x.relu())
        x = functional.linear(x, *_pair(state, f"w_net.fc.{linear}"))
        x = x.relu() if pre_norm and linear < 7 else x
    return x + w if residual else x


def _head(state: State, head: int, x: Tensor) -> Tensor:
    for layer in (0, 2, 4):
        x = functional.linear(x.relu() if layer else x, *_pair(state, f"w_net.z_net.unshared.{head}.{layer}"))
    return x


def _conditioned(state: State, w: Tensor, conditions: Tensor) -> Tensor:
    if "w_net.adain.fc.weight" not in state:
        return w + conditions
    gamma, beta = functional.linear(conditions, *_pair(state, "w_net.adain.fc")).chunk(2, -1)
    if "w_net.adain.norm.weight" in state:
        return (1 + gamma) * _layer_norm(state, "w_net.adain.norm", w) + beta
    # InstanceNorm1d over the numbers of each row.
    return (1 + gamma) * functional.instance_norm(w) + beta


def _layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], *_pair(state, name))


def _pair(state: State, name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]
