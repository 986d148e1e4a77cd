"""The fused kernels against float64, in Triton's interpreter and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_cases import CASES, LARGE_CASES, Errors, measured
from torch import Tensor
from torch.nn import functional

from engines.kernels import reference
from engines.kernels.ahead_of_time import compile_ahead
from engines.kernels.conv_rgb import conv_rgb_spec
from engines.kernels.launch import KernelSpec
from engines.kernels.operands import Activation, channels_last
from engines.kernels.rgb import Rgb, RgbForm
from engines.kernels.tail import tail
from engines.kernels.to_rgb import to_rgb
from engines.kernels.weights import convolution_weight, merged_along_rows, modulation
from export.networks.generator import convolve_up, fir_kernel
from serving.errors import EngineError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU")


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: Triton decides at its import whether it interprets or compiles."""
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
    assert_close(interpreter.submit(measured, case, "cpu").result())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_a_kernel_is_at_most_twice_as_wrong_as_half_precision_on_a_gpu(case: str) -> None:
    assert_close(measured(case, "cuda"))


@pytest.fixture
def launched_by_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels are compiled ahead of time, and launched by nothing but their description."""
    cupy = pytest.importorskip("cupy")
    major, minor = torch.cuda.get_device_capability()

    def launch(spec: KernelSpec, batch: int, operands: Mapping[str, Tensor]) -> None:
        kernel = compile_ahead(spec, 10 * major + minor)
        ptx = tmp_path / "kernel.ptx"
        ptx.write_text(kernel.ptx)
        function = cupy.RawModule(path=str(ptx)).get_function(kernel.name)
        addresses = tuple(np.uint64(operands[name].data_ptr()) for name in kernel.arguments)
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            function((*kernel.grid, batch), (kernel.threads,), addresses, shared_mem=kernel.shared_bytes)

    monkeypatch.setattr(KernelSpec, "launch", launch)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("launched_by_the_driver")
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_a_kernel_compiled_ahead_of_time_gives_the_same_on_a_gpu(case: str) -> None:
    assert_close(measured(case, "cuda"))


def test_a_weight_merged_along_rows_leaves_the_filter_along_columns() -> None:
    x, weight = torch.randn(2, 5, 4, 6).double(), torch.randn(3, 5, 3, 3).double()
    merged = merged_along_rows(weight)
    # Its first axis is a transposed convolution of stride 2, its second an ordinary one with a border of zeros.
    pairs = functional.conv_transpose2d(x, merged.flip(3).transpose(0, 1), stride=(2, 1))[..., 1:-1]  # [2, 6, 9, 6]
    even, odd = pairs.chunk(2, 1)
    rows = torch.stack([even, odd], -1).flatten(3)  # [2, 3, 9, 12]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 4
    y = functional.conv2d(rows, taps.reshape(1, 1, 4, 1).expand(3, 1, 4, 1), padding=(1, 0), groups=3)
    torch.testing.assert_close(y, convolve_up(x, weight, fir_kernel().double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e4, 1e-2])  # the latter so small that the epsilon counts
def test_normalised_weights_and_styles_stay_in_range_and_cancel_out(size: float) -> None:
    weight, style = size / 9 * torch.randn(6, 9, 3, 3).double(), size * torch.randn(2, 9).double()
    normalised = convolution_weight(weight)
    scaled, demodulation = modulation(style, normalised.squares, normalised.epsilon)
    assert normalised.kernel.abs().max() <= 1
    assert scaled.abs().max() <= 1
    expected = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + 1e-8)
    x = torch.randn(2, 9, 4, 4).double()
    y = functional.conv2d(x * scaled[:, :, None, None], normalised.kernel) * demodulation[:, :, None, None]
    plain = functional.conv2d(x * style[:, :, None, None], weight) * expected[:, :, None, None]
    torch.testing.assert_close(y, plain * reference.ACTIVATION_GAIN, rtol=1e-12, atol=1e-12)


def test_a_channel_of_zeros_stays_zero() -> None:
    normalised = convolution_weight(torch.zeros(2, 3, 3, 3))
    style, demodulation = modulation(torch.zeros(1, 3), normalised.squares, normalised.epsilon)
    assert normalised.kernel.isfinite().all()
    assert style.isfinite().all()
    assert not demodulation.any()


def activation(channels: int = 8, size: int = 4) -> Activation:
    return Activation(torch.ones(1, channels), torch.zeros(size, size).half(), torch.zeros(channels))


def half_map(channels: int = 8, size: int = 4) -> Tensor:
    return channels_last(torch.zeros(1, channels, size, size).half())


def rgb(skip_size: int) -> Rgb:
    return Rgb(torch.zeros(3, 8), torch.zeros(1, 8), torch.zeros(3), torch.zeros(1, 3, skip_size, skip_size))


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
        (lambda: conv_rgb_spec(512, 512, 64, 64, RgbForm()), "got 512 output channels, expected at most 128"),
    ],
)
def test_an_operand_that_does_not_fit_is_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        call()
