"""ReStyle's encoders and those without style heads: stand-ins in the official names, and the official formulas.

The formulas are those of ``models/encoders/psp_encoders.py`` of pixel2style2pixel and encoder4editing, and of
``restyle_psp_encoders.py``, ``restyle_e4e_encoders.py``, ``psp.py`` and ``utils/inference_utils.py`` of
restyle-encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from checkpoint_files import encoder_state, rosinality_state, torch_tensors
from deterministic_weights import Array, Shape, encoder_value, state_dict
from encoder_formula import State, batch_norm, equal_linear, irse50_maps, style_head
from torch import Tensor
from torch.nn import functional

from engines.contract.arrays import Pictures
from export.checkpoints import read_generator
from export.networks.encoder import input_from_face
from export.networks.generator import generator_from_weights
from export.weights import Trunk

Head = Literal["last", "one", "all"]

CHANNELS, ROWS = 10, 8
"""Width of the last stage and of w, and number of rows: those of a 32x32 generator."""

_RESNET_UNITS, _RESNET_STAGES = (3, 4, 6, 3), (4, 6, 8, CHANNELS)


@cache
def official_encoder(trunk: Trunk, head: Head, inputs: int) -> Mapping[str, Array]:
    """A narrow encoder's state dict."""
    shapes = dict(_irse50_shapes(inputs) if trunk == "irse50" else _resnet34_shapes(inputs))
    if head == "last":
        for row in range(ROWS):
            shapes |= {f"styles.{row}.convs.{i}.weight": (CHANNELS, CHANNELS, 3, 3) for i in (0, 2, 4, 6)}
            shapes |= {f"styles.{row}.convs.{i}.bias": (CHANNELS,) for i in (0, 2, 4, 6)}
            shapes |= _linear(f"styles.{row}.linear", CHANNELS, CHANNELS)
    elif head == "one":
        shapes |= _linear("linear", CHANNELS, CHANNELS)
    else:
        shapes |= _linear("output_layer_2.3", 49 * CHANNELS, CHANNELS) | _linear("linear", CHANNELS, ROWS * CHANNELS)
        shapes |= _norm("output_layer_2.0", CHANNELS)
    return state_dict("official", shapes, encoder_value)


def official_checkpoint(encoder: Mapping[str, Array], **changes: Any) -> dict[str, Any]:
    """A checkpoint with a 32x32 decoder; ``changes`` replace its entries."""
    state = {f"encoder.{name}": value for name, value in encoder.items()}
    state |= {f"decoder.{name}": value for name, value in rosinality_state(width=CHANNELS).items()}
    latent_avg = torch.linspace(-1, 1, CHANNELS).repeat(ROWS, 1)
    return {"state_dict": torch_tensors(state), "latent_avg": latent_avg, "opts": {}} | changes


@dataclass(frozen=True)
class EncoderForm:
    """A form of encoder by the name of its class; one of ReStyle's takes ``steps``, and the others none."""

    encoder_type: str
    trunk: Trunk
    head: Head
    steps: int = 0

    def checkpoint(self, **changes: Any) -> dict[str, Any]:
        """A checkpoint of this form; ``changes`` replace its entries."""
        opts: dict[str, Any] = {"encoder_type": self.encoder_type}
        opts |= {"n_iters_per_batch": self.steps} if self.steps else {}
        return official_checkpoint(self._encoder(), **{"opts": opts, **changes})

    def codes(self, path: Path, faces: Pictures, first: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The codes of faces by the official formula; ``path`` is the checkpoint, which holds ReStyle's decoder.

        ReStyle begins at the average, or at the codes and pictures of a ``first`` encoder.
        """
        state, x = torch_tensors(self._encoder()), input_from_face(torch.from_numpy(faces))
        latent_avg = self.checkpoint()["latent_avg"]
        if not self.steps:
            codes = official_codes(state, x)
            return (codes[:, None] if codes.ndim == 2 else codes) + latent_avg
        progressive, decoder = "Progressive" in self.encoder_type, official_decoder(path)
        return official_restyle(state, x, latent_avg, decoder, self.steps, first, progressive=progressive)

    def _encoder(self) -> Mapping[str, Array]:
        return official_encoder(self.trunk, self.head, 6 if self.steps else 3)


OTHER_ENCODERS = {
    "into W, pSp": EncoderForm("BackboneEncoderUsingLastLayerIntoW", "irse50", "one"),
    "into W, e4e": EncoderForm("SingleStyleCodeEncoder", "irse50", "one"),
    "into W+, pSp": EncoderForm("BackboneEncoderUsingLastLayerIntoWPlus", "irse50", "all"),
    "ReStyle-pSp": EncoderForm("BackboneEncoder", "irse50", "last", steps=2),
    "ReStyle-e4e": EncoderForm("ProgressiveBackboneEncoder", "irse50", "last", steps=2),
    "ReStyle-pSp on ResNet": EncoderForm("ResNetBackboneEncoder", "resnet34", "last", steps=1),
    "ReStyle-e4e on ResNet": EncoderForm("ResNetProgressiveBackboneEncoder", "resnet34", "last", steps=3),
}
"""ReStyle's encoders, and those without style heads."""


def official_decoder(path: Path) -> Callable[[Tensor], Tensor]:
    """The function from codes to images of the decoder in an encoder's checkpoint."""
    return generator_from_weights(read_generator(path)).synthesise


def official_bootstrapping(
    first: EncoderForm, corrector: EncoderForm, paths: tuple[Path, Path], faces: Pictures
) -> Tensor:
    """The codes that ``corrector`` makes of those of ``first``, which takes one step, by ReStyle's encoder
    bootstrapping: its first input is the picture of the first encoder's own decoder."""
    path, corrector_path = paths
    codes = replace(first, steps=min(first.steps, 1)).codes(path, faces)
    return corrector.codes(corrector_path, faces, (codes, official_decoder(path)(codes)))


def official_codes(state: State, x: Tensor, *, progressive: bool = False) -> Tensor:
    """The encoder's output for pictures in -1..1: [N, L, D], or [N, D] for one code."""
    x = irse50_maps(state, x)[-1] if "input_layer.0.weight" in state else _resnet34(state, x)
    if "output_layer_2.0.weight" in state:
        x = functional.adaptive_avg_pool2d(batch_norm(state, "output_layer_2.0", x), (7, 7)).flatten(1)
        x = functional.linear(x, state["output_layer_2.3.weight"], state["output_layer_2.3.bias"])
        return equal_linear(state, "linear", x).view(-1, ROWS, CHANNELS)
    if "linear.weight" in state:
        return equal_linear(state, "linear", functional.adaptive_avg_pool2d(x, (1, 1)).view(-1, CHANNELS))
    outputs = [style_head(state, f"styles.{row}", x) for row in range(ROWS)]
    if not progressive:
        return torch.stack(outputs, dim=1)
    w = outputs[0].repeat(ROWS, 1, 1).permute(1, 0, 2).clone()
    for row in range(1, ROWS):
        w[:, row] += outputs[row]
    return w


def official_restyle(
    state: State,
    x: Tensor,
    latent_avg: Tensor,
    decoder: Callable[[Tensor], Tensor],
    steps: int,
    first: tuple[Tensor, Tensor] | None = None,
    **options: bool,
) -> Tensor:
    """The code after all iterations, from the ``first`` code and its image; ``decoder`` maps codes to images."""
    pool = torch.nn.AdaptiveAvgPool2d((256, 256))
    latent, y_hat = first or (None, decoder(latent_avg.unsqueeze(0)).repeat(len(x), 1, 1, 1))
    y_hat = pool(y_hat)
    for _ in range(steps):
        codes = official_codes(state, torch.cat([x, y_hat], dim=1), **options)
        latent = codes + (latent_avg.repeat(len(x), 1, 1) if latent is None else latent)
        y_hat = pool(decoder(latent))
    assert latent is not None
    return latent


def _resnet34(state: State, x: Tensor) -> Tensor:
    x = batch_norm(state, "bn1", functional.conv2d(x, state["conv1.weight"], None, 2, 3))
    x = functional.prelu(x, state["relu.weight"])
    for unit in range(sum(_RESNET_UNITS)):
        stride, name = 2 if unit in (3, 7, 13) else 1, f"body.{unit}"
        y = batch_norm(state, f"{name}.bn1", functional.conv2d(x, state[f"{name}.conv1.weight"], None, stride, 1))
        y = batch_norm(state, f"{name}.bn2", functional.conv2d(y.relu(), state[f"{name}.conv2.weight"], None, 1, 1))
        if f"{name}.downsample.0.weight" in state:
            x = functional.conv2d(x, state[f"{name}.downsample.0.weight"], None, stride)
            x = batch_norm(state, f"{name}.downsample.1", x)
        x = (x + y).relu()
    return x


def _irse50_shapes(inputs: int) -> Iterator[tuple[str, Shape]]:
    for name, value in encoder_state().items():
        if name == "input_layer.0.weight":
            yield name, (len(value), inputs, 3, 3)
        elif not name.startswith(("styles.", "latlayer")):
            yield name, value.shape


def _resnet34_shapes(inputs: int) -> Iterator[tuple[str, Shape]]:
    before = _RESNET_STAGES[0]
    yield "conv1.weight", (before, inputs, 7, 7)
    yield "relu.weight", (before,)
    yield from _norm("bn1", before).items()
    widths = np.repeat(_RESNET_STAGES, _RESNET_UNITS).tolist()
    for unit, width in enumerate(widths):
        name = f"body.{unit}"
        yield f"{name}.conv1.weight", (width, before, 3, 3)
        yield f"{name}.conv2.weight", (width, width, 3, 3)
        yield from (_norm(f"{name}.bn1", width) | _norm(f"{name}.bn2", width)).items()
        if width != before:
            yield f"{name}.downsample.0.weight", (width, before, 1, 1)
            yield from _norm(f"{name}.downsample.1", width).items()
        before = width


def _norm(name: str, channels: int) -> dict[str, Shape]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
