"""StyleGAN1 as its paper and official code define it, on the official variables, in float64 and with plain NumPy.

Written from the formulas, without this package's networks: every operation is spelled out by loops over taps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def official_codes(variables: Mapping[str, NDArray[np.float32]], z: Array) -> Array:
    """The mapping network: z [N, D] -> w [N, D]."""
    x = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 1e-8)
    depth = sum(name.startswith("mapping/") and name.endswith("/weight") for name in variables)
    for i in range(depth):
        weight = variables[f"mapping/Dense{i}/weight"].astype(float)
        x = x @ (weight * np.sqrt(2) / np.sqrt(len(weight)) * 0.01) + variables[f"mapping/Dense{i}/bias"] * 0.01
        x = np.maximum(x, 0.2 * x)
    return x


def official_truncation(variables: Mapping[str, NDArray[np.float32]], w: Array, psi: float, cutoff: int = 8) -> Array:
    """Codes [N, L, D], of which the first ``cutoff`` rows are moved towards their average."""
    truncated = w.copy()
    average = variables["dlatent_avg"].astype(float)
    truncated[:, :cutoff] = average + (w[:, :cutoff] - average) * psi
    return truncated


def official_picture(variables: Mapping[str, NDArray[np.float32]], w: Array, *, fused_from: int = 128) -> Array:
    """The synthesis network: codes [N, L, D] -> pictures [N, 3, R, R], with the noise of the variables."""
    blocks = w.shape[1] // 2
    x = np.repeat(variables["synthesis/4x4/Const/const"].astype(float), len(w), 0)
    for block in range(blocks):
        r = 4 << block
        for number, module in enumerate(("Const", "Conv") if r == 4 else ("Conv0_up", "Conv1")):
            name, row = f"synthesis/{r}x{r}/{module}", 2 * block + number
            if module == "Conv0_up":
                x = _blurred(_doubled(x, _scaled(variables[f"{name}/weight"], np.sqrt(2)), fused=r >= fused_from))
            elif module != "Const":
                x = _correlated(x, _scaled(variables[f"{name}/weight"], np.sqrt(2)))
            x = _epilogue(variables, name, x, variables[f"synthesis/noise{row}"], w[:, row])
    weight = _scaled(variables["synthesis/ToRGB_lod0/weight"], 1)[0, 0]
    rgb: Array = np.einsum("nihw,io->nohw", x, weight) + variables["synthesis/ToRGB_lod0/bias"][:, None, None]
    return rgb


def _scaled(weight: NDArray[np.float32], gain: float) -> Array:
    return weight * (gain / np.sqrt(np.prod(weight.shape[:-1])))  # type: ignore[no-any-return]


def _correlated(x: Array, weight: Array) -> Array:
    """A convolution with zeros around, [N, I, H, W] and [3, 3, I, O] -> [N, O, H, W]."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = [
        np.einsum("nihw,io->nohw", padded[:, :, i : i + height, j : j + width], weight[i, j])
        for i in range(3)
        for j in range(3)
    ]
    return sum(taps, np.zeros(()))


def _doubled(x: Array, weight: Array, *, fused: bool) -> Array:
    if not fused:
        return _correlated(x.repeat(2, 2).repeat(2, 3), weight)
    # The transposed convolution: each pixel adds the kernel of 4x4, which sums four shifts of that of 3x3.
    kernel = np.zeros((4, 4, *weight.shape[2:]))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        kernel[i : i + 3, j : j + 3] += weight
    height, width = x.shape[2:]
    out = np.zeros((len(x), weight.shape[3], 2 * height + 2, 2 * width + 2))
    for i in range(4):
        for j in range(4):
            added = np.einsum("nihw,io->nohw", x, kernel[i, j])
            out[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] += added
    return out[:, :, 1:-1, 1:-1]


def _blurred(x: Array) -> Array:
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    shifted = [taps[i, j] * padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return sum(shifted, np.zeros(()))


def _epilogue(
    variables: Mapping[str, NDArray[np.float32]], name: str, x: Array, noise: NDArray[np.float32], w: Array
) -> Array:
    """Noise, bias, leaky ReLU, instance normalisation, style."""
    x = x + noise * variables[f"{name}/Noise/weight"][:, None, None] + variables[f"{name}/bias"][:, None, None]
    x = np.maximum(x, 0.2 * x)
    x = x - x.mean((2, 3), keepdims=True)
    x = x / np.sqrt(np.mean(x**2, (2, 3), keepdims=True) + 1e-8)
    weight = variables[f"{name}/StyleMod/weight"]
    style = w @ (weight / np.sqrt(len(weight))) + variables[f"{name}/StyleMod/bias"]
    scale, shift = style.reshape(len(w), 2, -1, 1, 1).swapaxes(0, 1)
    result: Array = x * (scale + 1) + shift
    return result
