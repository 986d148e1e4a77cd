"""Conversion of a PyTorch generator to the weights of the PyTorch engine, without an ONNX file.

The result equals what ``generator_weights_from_graph`` reads from the exported graph. It is for machines that have a
GPU and cannot export.
"""

from __future__ import annotations

from torch import Tensor

from engines.contract.arrays import AnyArray
from engines.graph import generator_weights as engine
from export.networks.generator import ACTIVATION_GAIN, Affine, Generator, SynthesisBlock, SynthesisLayer, ToRgb
from export.weights import row_of


def engine_weights(generator: Generator) -> engine.ExportedGeneratorWeights:
    """Convert all layers, with gains folded as at export."""
    blocks = list(generator.blocks)
    return engine.ExportedGeneratorWeights(
        w_avg=_array(generator.mapping.w_avg),
        constant=_array(blocks[0][1].const[None]),
        resolutions=tuple(_resolution(resolution, block) for resolution, block in blocks),
    )


def _resolution(resolution: int, block: SynthesisBlock) -> engine.SynthesisBlockWeights:
    assert isinstance(block.conv, SynthesisLayer)
    assert isinstance(block.rgb, ToRgb)
    up = getattr(block, "up", None)
    assert up is None or isinstance(up, SynthesisLayer)
    return engine.SynthesisBlockWeights(
        up=None if up is None else _convolution(up, row_of(resolution, "up")),
        conv=_convolution(block.conv, row_of(resolution, "conv")),
        rgb=engine.ToRgbWeights(
            affine=_affine(block.rgb.affine, row_of(resolution, "rgb")),
            weight=_array(block.rgb.scaled_weight()),
            bias=_array(block.rgb.bias),
            clamp=block.rgb.clamp,
        ),
    )


def _convolution(layer: SynthesisLayer, row: int) -> engine.ModulatedConvWeights:
    return engine.ModulatedConvWeights(
        affine=_affine(layer.affine, row),
        weight=_array(layer.scaled_weight()),
        noise=_array(layer.noise * layer.noise_strength * ACTIVATION_GAIN),
        bias=_array(layer.bias * ACTIVATION_GAIN),
        clamp=layer.clamp,
    )


def _affine(affine: Affine, row: int) -> engine.AffineWeights:
    return engine.AffineWeights(row, _array(affine.weight / affine.weight.shape[1] ** 0.5), _array(affine.bias))


def _array(tensor: Tensor) -> AnyArray:
    array: AnyArray = tensor.detach().cpu().numpy()
    return array
