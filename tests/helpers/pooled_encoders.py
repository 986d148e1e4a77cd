"""Encoders without style heads, which read means of the trunk's last map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.weights import POOLED, Array, EncoderWeights


def one_code_encoder(encoder: EncoderWeights) -> EncoderWeights:
    """Return the encoder with one random linear layer, whose code all rows share, in the place of its heads."""
    return _with_head(encoder, {"linear.weight": (encoder.w_dim, _channels(encoder)), "linear.bias": (encoder.w_dim,)})


def all_rows_encoder(encoder: EncoderWeights) -> EncoderWeights:
    """Return the encoder with a random head for all rows at once in the place of its heads."""
    channels, numbers = _channels(encoder), encoder.w_dim * encoder.rows
    norm = {f"output_layer_2.0.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
    return _with_head(
        encoder,
        norm
        | {"output_layer_2.3.weight": (encoder.w_dim, channels * POOLED**2), "output_layer_2.3.bias": (encoder.w_dim,)}
        | {"linear.weight": (numbers, encoder.w_dim), "linear.bias": (numbers,)},
    )


def _channels(encoder: EncoderWeights) -> int:
    return int(encoder.tensors["styles.0.convs.0.weight"].shape[1])


def _with_head(encoder: EncoderWeights, shapes: dict[str, tuple[int, ...]]) -> EncoderWeights:
    trunk = {name: value for name, value in encoder.tensors.items() if not name.startswith(("styles.", "latlayer"))}
    rng = np.random.default_rng(0)
    head: dict[str, Array] = {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in shapes.items()}
    for name in head:
        if name.endswith("running_var"):
            head[name] = np.exp(head[name])
    return replace(encoder, tensors=trunk | head)
