"""This package's own engine for a processor: its kernels against float64, its pictures against ONNX Runtime."""

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
from winograd_targets import EVERY_TARGET

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, generator_signature
from engines.graph.generator_weights import AffineWeights, ModulatedConvWeights, SynthesisBlockWeights, ToRgbWeights
from engines.kernels import reference
from engines.kernels.operands import Activation
from engines.model_directory import Precision
from engines.onnxruntime.engine import OnnxRuntimeEngine
from engines.winograd import library
from engines.winograd.arrays import aligned, padded
from engines.winograd.engine import WinogradEngine
from engines.winograd.generator import SynthesisBlock
from engines.winograd.library import TARGETS, Kernels, Target, targets_here
from export.selection import candidates_for

SIGNATURE = generator_signature(Geometry(32, 16))
W = np.random.default_rng(0).standard_normal((3, 8, 16), dtype=np.float32)
PSI = np.array([[1], [0.5], [0]], np.float32)

PRECISIONS: tuple[Precision, ...] = ("fp32", "int16")


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_where_there_is_a_compiler_the_kernels_are_compiled() -> None:
    assert [target for target in TARGETS if library._library(target) is None] == []


# ---- Blocks, against float64.


class Drawn:
    """A block's layers with seeded random weights; 3 channels fewer than asked for, so that some are made up."""

    def __init__(self, size: int, channels: Sequence[int], clamp: float | None) -> None:
        draw = np.random.default_rng(size)

        def normal(*shape: int) -> NDArray[np.float32]:
            return draw.standard_normal(shape, np.float32)

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
        below = (size // 2, size // 2, first[0]) if first else (size, size, inputs)
        self.x = normal(*below)

    @property
    def resolution(self) -> SynthesisBlockWeights:
        return SynthesisBlockWeights(self.up, self.conv, self.rgb)

    def run(self, kernels: Kernels) -> tuple[AnyArray, AnyArray]:
        """The map [H, W, O] and toRGB's products [3, H, W]."""
        block = SynthesisBlock(self.resolution, kernels)
        block.set_styles(padded(self.w, 1, lanes=kernels.lanes))
        size, width = len(self.conv.noise), len(self.conv.bias)
        y = aligned((size, size, -(-width // kernels.lanes) * kernels.lanes))
        kernels.run_block(block.structure, padded(self.x, 2, lanes=kernels.lanes), y, block.rgb)
        return y[..., :width], block.rgb

    def by_formulas(self, dtype: torch.dtype) -> tuple[AnyArray, AnyArray]:
        """The same by a direct convolution."""
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


FIXED_ERROR = 3e-3
"""Of the values, root mean square. Measured: 1.2e-4 with small tiles, up to 1.8e-3 with large ones, whose output is the
difference of larger sums; plain bfloat16 has 2e-3."""

BLOCKS = {
    "lowest": (4, (19, 35)),
    "small tiles": (16, (35, 19, 51)),
    "narrow": (32, (67, 35, 19)),
    "several strips": (512, (19, 19, 19)),
    "all threads together": (32, (35, 163, 147)),
    "several rounds of tiles": (64, (19, 147, 19)),
}


@pytest.fixture(scope="module", params=BLOCKS.values(), ids=BLOCKS.keys())
def block(request: pytest.FixtureRequest) -> Drawn:
    size, channels = request.param
    return Drawn(size, channels, clamp=1.5)


@pytest.mark.parametrize("target", EVERY_TARGET)
def test_a_block_gives_what_the_formulas_give(block: Drawn, target: Target) -> None:
    exact, direct = block.by_formulas(torch.float64), block.by_formulas(torch.float32)
    for got, plain, expected in zip(block.run(Kernels(target)), direct, exact, strict=True):
        wrong, usual = (np.sqrt(np.mean((found - expected) ** 2)) for found in (got, plain))
        # Measured: once with small tiles, up to 7.5 times with large ones, whose samples are differences of up to six.
        assert wrong <= 10 * usual


@pytest.mark.parametrize("target", EVERY_TARGET)
def test_a_block_of_fixed_point_is_near_the_formulas(block: Drawn, target: Target) -> None:
    exact = block.by_formulas(torch.float64)
    for got, expected in zip(block.run(Kernels(target, fixed=True)), exact, strict=True):
        wrong, size = (np.sqrt(np.mean(np.square(values))) for values in (got - expected, expected))
        assert wrong <= FIXED_ERROR * size


@pytest.mark.parametrize("target", EVERY_TARGET)
@pytest.mark.parametrize("peak", [np.s_[:], np.s_[7, 5], np.s_[..., 5]], ids=["nowhere", "pixel", "channel"])
def test_fixed_point_does_not_overflow(target: Target, peak: Any) -> None:
    drawn = Drawn(32, (67, 35, 19), clamp=None)
    # All products of a sum have one sign, so that it is as large as the norms allow.
    drawn.x[:] = 1
    drawn.x[peak] = 1e6
    for layer in (drawn.up, drawn.conv):
        layer.weight[:] = abs(layer.weight)
    for got, expected in zip(drawn.run(Kernels(target, fixed=True)), drawn.by_formulas(torch.float64), strict=True):
        assert np.abs(got - expected).max() <= FIXED_ERROR * np.abs(expected).max()


@pytest.mark.parametrize("target", EVERY_TARGET)
@pytest.mark.parametrize("fixed", [False, True], ids=["float32", "fixed point"])
def test_threads_change_nothing(block: Drawn, target: Target, *, fixed: bool) -> None:
    expected = block.run(Kernels(target, threads=1, fixed=fixed))
    for threads in (2, 5):
        for got, one in zip(block.run(Kernels(target, threads=threads, fixed=fixed)), expected, strict=True):
            assert np.array_equal(got, one)


# ---- Pictures.


@pytest.mark.parametrize("target", EVERY_TARGET)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_pictures_are_onnx_runtimes(generator: Path, target: Target, precision: Precision) -> None:
    with OnnxRuntimeEngine(generator, SIGNATURE) as engine:
        expected = engine.run({"w": W, "psi": PSI})["image"].astype(int)
    with WinogradEngine(generator, SIGNATURE, precision=precision, target=target) as engine:
        got = engine.run({"w": W, "psi": PSI})["image"]
    # Truncation turns a rounding difference on the edge of two levels into one level.
    error = np.abs(got - expected)
    assert error.max() <= 1
    assert error.mean() <= (0.01 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("target", EVERY_TARGET)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_picture_depends_neither_on_its_batch_nor_on_the_one_before(
    generator: Path, target: Target, precision: Precision
) -> None:
    with WinogradEngine(generator, SIGNATURE, precision=precision, target=target) as engine:
        first = engine.run({"w": W, "psi": PSI})["image"]
        kept = first.copy()
        again = [engine.run({"w": W[k : k + 1], "psi": PSI[k : k + 1]})["image"] for k in (2, 1, 0)]
    assert np.array_equal(first, kept)
    assert np.array_equal(np.concatenate(again[::-1]), kept)


# ---- What is refused.


def test_it_is_tried_for_generators_and_encoders() -> None:
    for precision in PRECISIONS:
        for component in ("generator", "encoder"):
            tried = candidates_for(component, "cpu", "auto", "auto")
            assert (("winograd", precision) in tried) == bool(targets_here())
        assert ("winograd", precision) not in candidates_for("isf", "cpu", "auto", "auto")
    with pytest.raises(EngineError, match=r"isf with --target cpu --engine winograd .*: got no such engine on this"):
        candidates_for("isf", "cpu", "winograd", "auto")


def test_where_nothing_was_compiled_it_is_not_tried_and_says_what_is_missing(
    generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert ("winograd", "fp32") not in candidates_for("generator", "cpu", "auto", "fp32")
    with pytest.raises(EngineError, match=r"engine winograd: got kernels for no processor .* install g\+\+"):
        WinogradEngine(generator, SIGNATURE)
