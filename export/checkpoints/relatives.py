"""Networks that look like those that are read, and are refused by name."""

from __future__ import annotations

from collections.abc import Sequence

from export.checkpoints.checkpoint import Checkpoint, entry_names
from export.checkpoints.layout import RESAVE_GENERATOR

_RELATIVES: Sequence[tuple[str, str, str]] = (
    (
        "fusion_out.0.conv.weight",
        "a VToonify-D network, which redraws frames and takes no codes",
        "run it with VToonify's own code, or blend the StyleGAN2 generators of its style here",
    ),
    (
        "fusion_out.0.weight",
        "a VToonify-T network, which redraws frames and takes no codes",
        "give the StyleGAN2 generator that it was trained with",
    ),
    (
        "res.0.norm.style.weight",
        "a DualStyleGAN network, whose second path of styles StyleGAN2 does not have",
        "give the StyleGAN2 generator from which it was trained",
    ),
    (
        "style_mapping.1.linear.weight_orig",
        "a generator in mmgeneration's names",
        "give the checkpoint of NVIDIA's or rosinality's that mmgeneration converted",
    ),
    (
        "synthesis.early_layer.const",
        "a StyleGAN2 generator in genforce's names",
        "give NVIDIA's checkpoint that genforce converted",
    ),
    (
        "stylegan_decoder.style_conv1.bias",
        "a GFPGAN-clean network, whose upsampling and noise are not StyleGAN2's",
        RESAVE_GENERATOR,
    ),
    (
        "style_conv1.bias",
        "a GFPGAN-clean generator, whose upsampling and noise are not StyleGAN2's",
        RESAVE_GENERATOR,
    ),
    ("style_conv1.activate.bias", "a generator in BasicSR's names", RESAVE_GENERATOR),
)
"""The end of a tensor's name by which a network is known, what it is, and what to do; the first that fits counts."""


def check_not_a_relative(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if the file holds a network that is known, but not supported."""
    names = [f".{name}" for name in entry_names(checkpoint)]
    for end, what, remedy in _RELATIVES:
        if any(name.endswith(f".{end}") for name in names):
            raise checkpoint.context.error(
                what, expected="a StyleGAN2 or StyleGAN1 generator, an encoder or an ISF head", remedy=remedy
            )
