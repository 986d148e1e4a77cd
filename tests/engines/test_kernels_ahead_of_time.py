"""Properties of the fused kernels' PTX, which is compiled without a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import pytest
from kernel_cases import SPECS, compiled

from engines.contract.errors import EngineError
from engines.kernels.ahead_of_time import CAPABILITIES, CompiledKernel, compile_ahead, keep_first_parameters
from engines.kernels.tail import tail_spec

SHARED_BYTES = 48 * 1024
"""The shared memory of a block on every GPU by default, and the most in TensorRT's compatible mode."""
REGISTERS = 65536
"""The number of registers of a multiprocessor."""

Compiled = dict[tuple[str, int], Future[CompiledKernel]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder, where Triton would leave its cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kernels(home: Path) -> Iterator[Compiled]:
    """Every layer for every GPU, compiled in two other processes, since this one may run Triton's interpreter."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        patch.delenv("TRITON_INTERPRET", raising=False)
        patch.setenv("TRITON_HOME", str(home))
        yield {job: pool.submit(compiled, *job) for job in product(SPECS, CAPABILITIES)}


@pytest.fixture(params=product(SPECS, CAPABILITIES), ids=lambda job: f"{job[0]} for sm_{job[1]}")
def kernel(kernels: Compiled, request: pytest.FixtureRequest) -> CompiledKernel:
    """One layer compiled for one GPU."""
    return kernels[request.param].result()


def test_a_kernel_fits_a_multiprocessor_more_than_once(kernel: CompiledKernel) -> None:
    assert kernel.shared_bytes <= SHARED_BYTES
    assert kernel.spilled_bytes == 0
    assert 2 * kernel.registers * kernel.threads <= REGISTERS


def test_maps_are_read_and_written_16_bytes_at_a_time(kernel: CompiledKernel) -> None:
    copies = re.findall(r"cp\.async\.\S+ \[.*?\], \[.*?\], (\w+)", kernel.ptx)
    reads = re.findall(r"ld\.global\S*\.v4\.b32", kernel.ptx)
    assert set(copies) == {"0x10"} if copies else reads
    writes = re.findall(r"st\.global\S*\.v4\.b32", kernel.ptx)
    assert writes or not {"y_ptr", "next_ptr"} & {*kernel.arguments}


def test_products_run_on_tensor_cores(kernel: CompiledKernel) -> None:
    instruction = "wgmma.mma_async" if kernel.capability == 90 else "mma.sync"
    assert (instruction in kernel.ptx) == ("weight_ptr" in kernel.arguments)


def test_a_kernel_takes_its_operands_and_nothing_else(kernel: CompiledKernel) -> None:
    entry = re.search(rf"\.visible \.entry {kernel.name}\(([^)]*)\)", kernel.ptx)
    assert entry is not None
    assert entry[1].count(".param .u64 .ptr") == len(kernel.arguments)
    assert kernel.arguments[0] == "x_ptr"
    assert kernel.arguments[-1] in ("y_ptr", "image_ptr")


def test_ptx_names_no_file_and_a_version_that_older_drivers_load(kernel: CompiledKernel) -> None:
    assert ".file" not in kernel.ptx
    assert ".version 8.0" in kernel.ptx
    assert f".target sm_{kernel.capability}" in kernel.ptx


def test_compiling_leaves_nothing_behind(kernels: Compiled, home: Path) -> None:
    for job in kernels.values():
        job.result()
    assert not [*home.iterdir()]


def test_the_grid_covers_the_map() -> None:
    spec = tail_spec(40, 18, 70, up=True)
    constants = spec.constants
    assert spec.grid == (-(-70 // 16), -(-18 // 2))
    assert (constants["BLOCK_C"], constants["BLOCK_W"], constants["ROWS"]) == (64, 16, 2)


def test_a_used_parameter_is_not_dropped() -> None:
    ptx = ".visible .entry k(\n\t.param .u64 k_0,\n\t.param .u64 k_1\n)\n{\n\tld.param.b64 %rd1, [k_1];\n}"
    assert keep_first_parameters(ptx, 2) == ptx
    with pytest.raises(EngineError, match="got uses of k_1, expected its 1 operands alone"):
        keep_first_parameters(ptx, 1)


def test_a_parameter_that_nothing_uses_is_dropped() -> None:
    ptx = ".visible .entry k(\n\t.param .u64 k_0,\n\t.param .u64 k_1\n)\n{\n\tld.param.b64 %rd1, [k_0];\n}"
    assert keep_first_parameters(ptx, 1) == ptx.replace(",\n\t.param .u64 k_1", "")


def test_an_unknown_gpu_is_refused() -> None:
    with pytest.raises(EngineError, match=r"got compute capability 7\.5, expected one of 8\.0, 8\.6, 8\.9, 9\.0"):
        compile_ahead(tail_spec(8, 8, 8), 75)
