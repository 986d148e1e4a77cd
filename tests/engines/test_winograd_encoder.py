"""Encoders in the engine ``winograd``: its kernels against float64, its codes against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional
from winograd_instruction_sets import EVERY_INSTRUCTION_SET

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, encoder_signature
from engines.graph.encoder_weights import ConvWeights
from engines.model_directory import Precision
from engines.onnxruntime.engine import OnnxRuntimeEngine
from engines.winograd.arrays import ScratchBuffer, padded
from engines.winograd.encoder import ConvolutionLayer
from engines.winograd.engine import WinogradEngine
from engines.winograd.library import InstructionSet, WinogradKernels
from export.cutting import light_encoder
from export.graphs.encoder import onnx_from_encoder
from export.networks.encoder import encoder_from_weights
from export.random_weights import random_encoder
from export.weights import EncoderWeights

ROWS, W_DIM = 10, 16
drawn = partial(random_encoder, (8, 12, 35, 24), 0, latent_avg=np.ones((ROWS, W_DIM), np.float32))
PSP = drawn()
UNBIASED = replace(
    PSP, tensors={name: value * (not name.endswith("linear.bias")) for name, value in PSP.tensors.items()}
)


def without(encoder: EncoderWeights, *zeros: str) -> EncoderWeights:
    """Return the encoder with 0 in the tensors whose names begin so."""
    tensors = {name: value * (not name.startswith(zeros)) for name, value in encoder.tensors.items()}
    return replace(encoder, tensors=tensors)


ENCODERS = {
    "pSp": replace(PSP, kind="psp"),
    "e4e": replace(PSP, kind="e4e"),
    "light": light_encoder(PSP),
    "linear maps without bias": UNBIASED,  # the export leaves a bias out that is zero
    "first stage of e4e's training": without(replace(PSP, kind="e4e"), *(f"styles.{row}." for row in range(1, ROWS))),
    "only coarse and middle heads": without(PSP, *(f"styles.{row}." for row in (0, 7, 8, 9))),
    "residuals of 0 everywhere": without(PSP, *(f"body.{unit}.res_layer.4" for unit in range(24))),
    "one code for all rows": drawn(heads="one"),
    "all rows by one layer": drawn(heads="all"),
    "some residuals of 0": without(PSP, *(f"body.{unit}.res_layer.4" for unit in (0, 1, 4, 5, 7, 10, 20, 21))),
}
FACES = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)


ERRORS: dict[Precision, float] = {"fp32": 5e-6, "int16": 3e-3}
"""Root mean square error, relative to the values. Measured: up to 1.4e-6 and 1.7e-3 with output tiles of 4x4, 2.6e-7
and 2.8e-4 elsewhere."""


# ---- Convolutions against float64.


class RandomConvolution:
    """A convolution with seeded random weights, and its input."""

    def __init__(self, size: int, inputs: int, outputs: int, *, taps: int, stride: int) -> None:
        generator = np.random.default_rng(size)

        def normal(*shape: int) -> NDArray[np.float32]:
            return generator.standard_normal(shape, np.float32)

        weight = normal(outputs, inputs, taps, taps) / np.float32(taps * inputs**0.5)
        self.x = normal(size, size, inputs)
        self.filters = ConvWeights(weight, stride, normal(inputs), normal(inputs), normal(outputs), normal(outputs))

    def run(self, kernels: WinogradKernels) -> AnyArray:
        layer = ConvolutionLayer(self.filters, len(self.x), kernels, ScratchBuffer())
        return layer(padded(self.x, 2, multiple=kernels.channel_multiple))[..., : len(self.filters.bias)]

    def expected(self) -> AnyArray:
        scale, shift, bias, slope = (
            torch.tensor(array).double()
            for array in (self.filters.scale, self.filters.shift, self.filters.bias, self.filters.slope)
        )
        x = (torch.tensor(self.x).double() * scale + shift).permute(2, 0, 1)[None]
        weight = torch.tensor(self.filters.weight).double()
        y = functional.conv2d(x, weight, bias, self.filters.stride, padding=weight.shape[-1] // 2)
        output: AnyArray = functional.prelu(y, slope)[0].permute(1, 2, 0).numpy()
        return output


CONVOLUTIONS = {
    "plain": (32, 35, 67, 3, 1),
    "plain, many channels": (32, 163, 147, 3, 1),
    "plain, small tiles": (16, 35, 19, 3, 1),
    "strided": (32, 35, 67, 3, 2),
    "strided, many channels, several batches of tiles": (64, 163, 19, 3, 2),
    "strided, direct": (8, 163, 147, 3, 2),
    "down to one pixel": (2, 35, 19, 3, 2),
    "one tap": (16, 35, 67, 1, 1),
    "one tap, strided": (16, 163, 147, 1, 2),
}


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize("precision", ERRORS)
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_a_convolution_matches_float64_for_any_number_of_threads(
    case: tuple[int, int, int, int, int], precision: Precision, instruction_set: InstructionSet
) -> None:
    size, inputs, outputs, taps, stride = case
    convolution = RandomConvolution(size, inputs, outputs, taps=taps, stride=stride)
    expected = convolution.expected()
    one, two, five = (
        convolution.run(WinogradKernels(instruction_set, threads=threads, fixed_point=precision == "int16"))
        for threads in (1, 2, 5)
    )
    error, magnitude = (np.sqrt(np.mean(np.square(values))) for values in (one - expected, expected))
    assert error <= ERRORS[precision] * magnitude
    assert np.array_equal(one, two)
    assert np.array_equal(one, five)


# ---- Codes against ONNX Runtime.


@pytest.fixture(scope="module", params=ENCODERS.values(), ids=ENCODERS.keys())
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EncoderWeights]:
    weights: EncoderWeights = request.param
    signature = encoder_signature(Geometry(64, W_DIM, rows=weights.rows))
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    onnx.save(onnx_from_encoder(encoder_from_weights(weights), signature), path)
    return path, weights


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize(("precision", "decibels"), [("fp32", 100), ("int16", 50)])
def test_codes_match_onnx_runtime(
    encoder: tuple[Path, EncoderWeights], instruction_set: InstructionSet, precision: Precision, decibels: float
) -> None:
    path, weights = encoder
    signature = encoder_signature(Geometry(64, W_DIM, rows=weights.rows))
    with OnnxRuntimeEngine(path, signature) as engine:
        expected = engine.run({"face": FACES})["w"]
    with WinogradEngine(path, signature, precision=precision, instruction_set=instruction_set) as engine:
        got = engine.run({"face": FACES})["w"]
        one_by_one = [engine.run({"face": FACES[k : k + 1]})["w"] for k in (1, 0)]
    error = np.sqrt(np.mean(np.square(got - expected)))
    assert 20 * np.log10(np.ptp(expected) / error) >= decibels
    assert np.array_equal(np.concatenate(one_by_one[::-1]), got)


def test_a_graph_that_is_not_an_encoder_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Identity", ["face"], ["w"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "other", [value("face", onnx.TensorProto.UINT8, [1])], [value("w", onnx.TensorProto.UINT8, [1])]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(EngineError, match=r"other\.onnx as an encoder: got a graph without .* export the model again"):
        WinogradEngine(tmp_path / "other.onnx", encoder_signature(Geometry(64, W_DIM)))
