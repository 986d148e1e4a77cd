"""The fused kernels are compared with float64, in Triton's interpreter and on a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from driver_launch import launch_by_driver
from kernel_cases import AHEAD_OF_TIME, CASES, LARGE_CASES, Errors, run_case
from torch import Tensor
from torch.nn import functional

from engines.contract.errors import EngineError
from engines.kernels import reference, shared_memory
from engines.kernels.ahead_of_time import compile_ahead
from engines.kernels.conv_rgb import conv_rgb_spec
from engines.kernels.conv_up import conv_up_spec
from engines.kernels.excitation import excitation
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import ToRgbOperands, ToRgbVariant
from engines.kernels.tail import tail, tail_spec
from engines.kernels.to_rgb import to_rgb
from engines.kernels.weights import merge_fir_along_rows, modulation, normalise_weight
from engines.torch import layer_backends
from engines.torch.layer_backends import FusedBackend
from export.networks.generator import convolve_up, fir_kernel

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU")


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """A separate process, since Triton decides on import whether it interprets or compiles."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        patch.setenv("TRITON_INTERPRET", "1")
        pool.submit(int).result()
        patch.undo()
        yield pool


def assert_close(results: list[Errors]) -> None:
    for result in results:
        assert result.kernel <= 2 * result.half, f"{result}"


@pytest.mark.parametrize("case", CASES)
def test_a_kernel_is_at_most_twice_as_wrong_as_half_precision(interpreter: ProcessPoolExecutor, case: str) -> None:
    assert_close(interpreter.submit(run_case, case, "cpu").result())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_a_kernel_is_at_most_twice_as_wrong_as_half_precision_on_a_gpu(case: str) -> None:
    assert_close(run_case(case, "cuda"))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_a_kernel_compiled_ahead_of_time_gives_the_same_on_a_gpu(case: str) -> None:
    assert_close(run_case(AHEAD_OF_TIME + case, "cuda"))


class Driver(MagicMock):
    """A fake of NVIDIA's driver that records launches."""

    def cuModuleLoadData(self, module: object, ptx: bytes) -> int:
        self.ptx = ptx.decode()
        return 0

    def cuModuleGetFunction(self, function: object, module: object, name: bytes) -> int:
        return 0 if f".visible .entry {name.decode()}(" in self.ptx else 500

    def cuFuncSetAttribute(self, function: object, attribute: int, value: int) -> int:
        self.attribute = attribute, value
        return 0

    def cuLaunchKernel(self, function: object, *arguments: Any) -> int:
        *self.geometry, _stream, pointers, _extra = arguments
        self.passed = [ctypes.cast(p, ctypes.POINTER(ctypes.c_uint64)).contents.value for p in pointers]
        return 0


def test_the_driver_is_given_a_kernels_geometry_and_its_operands_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: MagicMock(cuda_stream=0))
    spec = tail_spec(16, 8, 8, up=False, styled=True)
    operands = {name: torch.zeros(1) for name in spec.arguments}
    driver = Driver()
    launch_by_driver(driver, spec, 80, 3, operands)
    assert driver.passed == [tensor.data_ptr() for tensor in operands.values()]
    shared_bytes = compile_ahead(spec, 80).shared_bytes
    assert driver.attribute == (8, shared_bytes)
    assert driver.geometry == [*spec.grid, 3, 32 * spec.warps, 1, 1, shared_bytes]
    driver.cuModuleUnload.assert_called_once()


@pytest.mark.parametrize(
    ("kib", "block_bytes", "kept"),
    [
        (228, 113 * 1024, ["conv_up 128", "conv_up 64", "conv_rgb 64", "conv_rgb 32"]),
        (164, 81 * 1024, ["conv_up 64", "conv_rgb 32"]),
        (100, 49 * 1024, ["conv_up 64", "conv_rgb 32"]),
        (64, 48 * 1024, ["conv_rgb 32"]),
    ],
)
def test_weights_are_kept_where_two_blocks_fit_a_multiprocessor_or_one_of_twice_the_warps(
    kib: int, block_bytes: int, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = MagicMock(shared_memory_per_multiprocessor=1024 * kib)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert shared_memory.block_bytes(torch.device("cuda")) == block_bytes
    ups = {f"conv_up {n}": conv_up_spec(n, n, 512, 512, block_bytes=block_bytes).constants["KEPT"] for n in (128, 64)}
    rgbs = {
        f"conv_rgb {n}": "ROWS" in conv_rgb_spec(n, n, 512, 512, ToRgbVariant(), block_bytes).constants
        for n in (128, 64, 32)
    }
    assert [name for name, is_kept in (ups | rgbs).items() if is_kept] == kept


@pytest.mark.parametrize(("batch", "size", "divided"), [(8, 8, True), (2, 16, True), (3, 16, False), (1, 32, False)])
def test_a_convolution_is_divided_for_few_pixels_of_a_batch(
    batch: int, size: int, divided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, to_rgb = MagicMock(), MagicMock()
    monkeypatch.setattr(layer_backends, "conv_sums", sums)
    monkeypatch.setattr(layer_backends, "to_rgb", to_rgb)
    x = channels_last(torch.zeros(batch, 8, size, size))
    FusedBackend().conv_to_rgb(channels_last(torch.zeros(8, 8, 3, 3)), size)(x, activation(), rgb(size // 2))
    assert sums.called == divided
    assert (to_rgb.call_args.args[0] is sums.return_value) == divided


def test_a_weight_merged_along_rows_leaves_the_filter_along_columns() -> None:
    x, weight = torch.randn(2, 5, 4, 6).double(), torch.randn(3, 5, 3, 3).double()
    merged = merge_fir_along_rows(weight)
    # The first axis is a transposed convolution of stride 2, the second an ordinary one with zero padding.
    pairs = functional.conv_transpose2d(x, merged.flip(3).transpose(0, 1), stride=(2, 1))[..., 1:-1]  # [2, 6, 9, 6]
    even, odd = pairs.chunk(2, 1)
    rows = torch.stack([even, odd], -1).flatten(3)  # [2, 3, 9, 12]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 4
    y = functional.conv2d(rows, taps.reshape(1, 1, 4, 1).expand(3, 1, 4, 1), padding=(1, 0), groups=3)
    torch.testing.assert_close(y, convolve_up(x, weight, fir_kernel().double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e4, 1e-2])  # the latter is so small that the epsilon matters
def test_normalised_weights_and_styles_stay_in_range_and_cancel_out(size: float) -> None:
    weight, style = size / 9 * torch.randn(6, 9, 3, 3).double(), size * torch.randn(2, 9).double()
    normalised = normalise_weight(weight)
    scaled, demodulation = modulation(style, normalised.squares, normalised.epsilon)
    assert normalised.kernel.abs().max() <= 1
    assert scaled.abs().max() <= 1
    expected = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + 1e-8)
    x = torch.randn(2, 9, 4, 4).double()
    y = functional.conv2d(x * scaled[:, :, None, None], normalised.kernel) * demodulation[:, :, None, None]
    plain = functional.conv2d(x * style[:, :, None, None], weight) * expected[:, :, None, None]
    torch.testing.assert_close(y, plain * reference.ACTIVATION_GAIN, rtol=1e-12, atol=1e-12)


def test_a_channel_of_zeros_stays_zero() -> None:
    normalised = normalise_weight(torch.zeros(2, 3, 3, 3))
    style, demodulation = modulation(torch.zeros(1, 3), normalised.squares, normalised.epsilon)
    assert normalised.kernel.isfinite().all()
    assert style.isfinite().all()
    assert not demodulation.any()


def activation(channels: int = 8, size: int = 4) -> Activation:
    return Activation(torch.ones(1, channels), torch.zeros(size, size).half(), torch.zeros(channels))


def excited(channels: int) -> Tensor:
    weight = torch.zeros(2, channels).half()
    return excitation(half_map(), torch.zeros(1, 8).half(), weight, weight, half_map())


def half_map(channels: int = 8, size: int = 4) -> Tensor:
    return channels_last(torch.zeros(1, channels, size, size).half())


def rgb(skip_size: int) -> ToRgbOperands:
    return ToRgbOperands(torch.zeros(3, 8), torch.zeros(1, 8), torch.zeros(3), torch.zeros(1, 3, skip_size, skip_size))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: tail(half_map().float(), activation()),
            r"'x': got torch.float32 \[1, 8, 4, 4\] .* expected torch.float16",
        ),
        (lambda: tail(half_map().contiguous(), activation()), "expected .* in torch.channels_last"),
        (
            lambda: tail(half_map(), activation(6)),
            r"'demodulation': got .* \[1, 6\] .* expected torch.float32 \[1, 8\]",
        ),
        (
            lambda: tail(half_map(), activation(), up=True),
            r"'noise': got .* \[4, 4\] .* expected torch.float16 \[3, 3\]",
        ),
        (lambda: tail(half_map()[0], activation()), r"'x': got .* expected torch.float16 \[N, C, H, W\]"),
        (
            lambda: to_rgb(half_map(), rgb(4)),
            r"'skip': got .* expected torch.float32 \[1, 3, 2, 2\]",
        ),
        (
            lambda: to_rgb(half_map(size=5), rgb(2)),
            r"'skip': got .* expected torch.float32 \[1, 3, 5 / 2, 5 / 2\]",
        ),
        (lambda: excited(6), r"'squeeze': got .* \[2, 6\] .* expected torch.float16 \[2, 8\]"),
        (lambda: conv_rgb_spec(512, 512, 64, 64, ToRgbVariant()), "got 512 output channels, expected at most 128"),
    ],
)
def test_an_operand_that_does_not_fit_is_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        call()
