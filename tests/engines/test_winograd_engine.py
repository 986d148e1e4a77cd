"""Generators in the engine ``winograd``: its kernels against float64, its pictures against ONNX Runtime."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from winograd_instruction_sets import EVERY_INSTRUCTION_SET

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, generator_signature
from engines.graph.generator_weights import AffineWeights, ModulatedConvWeights, SynthesisBlockWeights, ToRgbWeights
from engines.kernels import reference
from engines.kernels.operands import Activation
from engines.model_directory import Precision
from engines.onnxruntime.engine import OnnxRuntimeEngine
from engines.winograd import library
from engines.winograd.arrays import aligned, padded, round_up
from engines.winograd.engine import WinogradEngine
from engines.winograd.generator import SynthesisBlock
from engines.winograd.library import INSTRUCTION_SETS, InstructionSet, WinogradKernels, instruction_sets_here
from export.targets import candidates_for

SIGNATURE = generator_signature(Geometry(32, 16))
W = np.random.default_rng(0).standard_normal((3, 8, 16), dtype=np.float32)
PSI = np.array([[1], [0.5], [0]], np.float32)

PRECISIONS: tuple[Precision, ...] = ("fp32", "int16")


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_where_there_is_a_compiler_the_kernels_are_compiled() -> None:
    assert [name for name in INSTRUCTION_SETS if library._library(name) is None] == []


# ---- Synthesis blocks against float64.


class RandomBlock:
    """A synthesis block with seeded random weights; 3 channels fewer than given, so that padding is tested."""

    def __init__(self, size: int, channels: Sequence[int], clamp: float | None) -> None:
        generator = np.random.default_rng(size)

        def normal(*shape: int) -> NDArray[np.float32]:
            return generator.standard_normal(shape, np.float32)

        def affine(width: int) -> AffineWeights:
            return AffineWeights(0, normal(width, 16) / 4, np.ones(width, np.float32))

        def layer(inputs: int, outputs: int) -> ModulatedConvWeights:
            weight = normal(outputs, inputs, 3, 3) / np.float32(3 * inputs**0.5)
            return ModulatedConvWeights(affine(inputs), weight, normal(size, size), normal(outputs), clamp)

        *first, inputs, outputs = (count - 3 for count in channels)
        self.up = layer(first[0], inputs) if first else None
        self.conv = layer(inputs, outputs)
        self.rgb = ToRgbWeights(affine(outputs), normal(3, outputs), normal(3), None)
        self.w = normal(1, 16)
        self.x = normal(*((size // 2, size // 2, first[0]) if first else (size, size, inputs)))

    @property
    def resolution(self) -> SynthesisBlockWeights:
        return SynthesisBlockWeights(self.up, self.conv, self.rgb)

    def run(self, kernels: WinogradKernels) -> tuple[AnyArray, AnyArray]:
        """Return the feature map [H, W, O] and toRGB's products [3, H, W]."""
        block = SynthesisBlock(self.resolution, kernels)
        block.set_styles(padded(self.w, 1, multiple=kernels.channel_multiple))
        size, width = len(self.conv.noise), len(self.conv.bias)
        y = aligned((size, size, round_up(width, kernels.channel_multiple)))
        image = aligned(block.image_shape)
        kernels.run_block(block.params, padded(self.x, 2, multiple=kernels.channel_multiple), y, image)
        return y[..., :width], image

    def expected(self, dtype: torch.dtype) -> tuple[AnyArray, AnyArray]:
        """Return the same, by direct convolutions in ``dtype``."""
        x = torch.tensor(self.x, dtype=dtype).permute(2, 0, 1)[None]
        for layer, up in ((self.up, True), (self.conv, False)):
            if layer is not None:
                x = self._layer(layer, x, up=up)
        weight = torch.tensor(self.rgb.weight, dtype=dtype)
        colours = torch.einsum("nchw,kc,c->khw", x, weight, self._style(self.rgb.affine).to(dtype))
        return x[0].permute(1, 2, 0).numpy(), colours.numpy()

    def _style(self, affine: AffineWeights) -> Tensor:
        return torch.tensor(affine.weight.astype(float) @ self.w[0] + affine.bias)

    def _layer(self, layer: ModulatedConvWeights, x: Tensor, *, up: bool) -> Tensor:
        style, weight = self._style(layer.affine).to(x), torch.tensor(layer.weight).to(x)
        squares = (weight.square().sum((2, 3)) @ style.square())[None]
        demodulation = 2**0.5 * torch.rsqrt(squares + 1e-8)  # with the activation's gain
        activation = Activation(demodulation, torch.tensor(layer.noise), torch.tensor(layer.bias), layer.clamp)
        convolved = reference.convolve(x * style[:, None, None], weight, up=up)
        return reference.tail(convolved, activation, up=up)


FIXED_POINT_ERROR = 3e-3
"""Root mean square error, relative to the values. Measured: 1.2e-4 with small tiles, up to 1.8e-3 with large ones,
whose outputs are differences of larger sums; a direct convolution in bfloat16 has 2e-3."""

BLOCKS = {
    "lowest": (4, (19, 35)),
    "small tiles": (16, (35, 19, 51)),
    "strips": (32, (67, 35, 19)),
    "several strips": (512, (19, 19, 19)),
    "shared batches of tiles": (32, (35, 163, 147)),
    "several batches of tiles": (64, (19, 147, 19)),
}


@pytest.fixture(scope="module", params=BLOCKS.values(), ids=BLOCKS.keys())
def block(request: pytest.FixtureRequest) -> RandomBlock:
    size, channels = request.param
    return RandomBlock(size, channels, clamp=1.5)


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
def test_a_block_in_float32_matches_float64(block: RandomBlock, instruction_set: InstructionSet) -> None:
    exact, direct = block.expected(torch.float64), block.expected(torch.float32)
    for got, plain, expected in zip(block.run(WinogradKernels(instruction_set)), direct, exact, strict=True):
        error, direct_error = (np.sqrt(np.mean((output - expected) ** 2)) for output in (got, plain))
        # Measured: 1 time with small tiles, up to 7.5 times with large ones, whose transformed inputs are differences
        # of up to six samples.
        assert error <= 10 * direct_error


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
def test_a_block_in_fixed_point_is_near_float64(block: RandomBlock, instruction_set: InstructionSet) -> None:
    exact = block.expected(torch.float64)
    for got, expected in zip(block.run(WinogradKernels(instruction_set, fixed_point=True)), exact, strict=True):
        error, magnitude = (np.sqrt(np.mean(np.square(values))) for values in (got - expected, expected))
        assert error <= FIXED_POINT_ERROR * magnitude


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize("peak", [np.s_[:], np.s_[7, 5], np.s_[..., 5]], ids=["no peak", "pixel", "channel"])
def test_fixed_point_does_not_overflow(instruction_set: InstructionSet, peak: Any) -> None:
    block = RandomBlock(32, (67, 35, 19), clamp=None)
    # All products of a sum are positive, so that it is as large as the norms allow.
    block.x[:] = 1
    block.x[peak] = 1e6
    for layer in (block.up, block.conv):
        layer.weight[:] = abs(layer.weight)
    kernels = WinogradKernels(instruction_set, fixed_point=True)
    for got, expected in zip(block.run(kernels), block.expected(torch.float64), strict=True):
        assert np.abs(got - expected).max() <= FIXED_POINT_ERROR * np.abs(expected).max()


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize("fixed_point", [False, True], ids=["float32", "fixed point"])
def test_the_number_of_threads_changes_nothing(
    block: RandomBlock, instruction_set: InstructionSet, *, fixed_point: bool
) -> None:
    expected = block.run(WinogradKernels(instruction_set, threads=1, fixed_point=fixed_point))
    for threads in (2, 5):
        kernels = WinogradKernels(instruction_set, threads=threads, fixed_point=fixed_point)
        for got, one in zip(block.run(kernels), expected, strict=True):
            assert np.array_equal(got, one)


# ---- Pictures against ONNX Runtime.


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_pictures_match_onnx_runtime(generator: Path, instruction_set: InstructionSet, precision: Precision) -> None:
    with OnnxRuntimeEngine(generator, SIGNATURE) as engine:
        expected = engine.run({"w": W, "psi": PSI})["image"].astype(int)
    with WinogradEngine(generator, SIGNATURE, precision=precision, instruction_set=instruction_set) as engine:
        got = engine.run({"w": W, "psi": PSI})["image"]
    # The conversion to uint8 truncates, so that a rounding difference at a boundary of two levels becomes one level.
    error = np.abs(got - expected)
    assert error.max() <= 1
    assert error.mean() <= (0.01 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("instruction_set", EVERY_INSTRUCTION_SET)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_picture_depends_neither_on_its_batch_nor_on_the_one_before(
    generator: Path, instruction_set: InstructionSet, precision: Precision
) -> None:
    with WinogradEngine(generator, SIGNATURE, precision=precision, instruction_set=instruction_set) as engine:
        first = engine.run({"w": W, "psi": PSI})["image"]
        kept = first.copy()
        again = [engine.run({"w": W[k : k + 1], "psi": PSI[k : k + 1]})["image"] for k in (2, 1, 0)]
    assert np.array_equal(first, kept)
    assert np.array_equal(np.concatenate(again[::-1]), kept)


# ---- Selection and refusal.


def test_auto_tries_it_for_generators_and_encoders() -> None:
    for precision in PRECISIONS:
        for component in ("generator", "encoder"):
            tried = candidates_for(component, "cpu", "auto", "auto")
            assert (("winograd", precision) in tried) == bool(instruction_sets_here())
        assert ("winograd", precision) not in candidates_for("isf", "cpu", "auto", "auto")
    with pytest.raises(EngineError, match=r"isf with --target cpu --engine winograd .*: got no such engine on this"):
        candidates_for("isf", "cpu", "winograd", "auto")


def test_without_compiled_kernels_auto_skips_it_and_opening_it_names_the_remedy(
    generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert ("winograd", "fp32") not in candidates_for("generator", "cpu", "auto", "fp32")
    with pytest.raises(
        EngineError,
        match=r"engine winograd: got compiled kernels for no instruction set of this processor.* install g\+\+",
    ):
        WinogradEngine(generator, SIGNATURE)
