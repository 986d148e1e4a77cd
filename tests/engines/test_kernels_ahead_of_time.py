"""Properties of the fused kernels' PTX, which is compiled without a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import triton
from kernel_cases import JOBS, MULTIPROCESSOR_KIB, compiled
from machine_code import instructions, overwritten_operands

from engines.contract.errors import EngineError
from engines.kernels.ahead_of_time import CompiledKernel, assembler_report, compile_ahead, keep_first_parameters
from engines.kernels.capabilities import PTX_VERSIONS
from engines.kernels.l1_copies import copies_kept_in_l1, fence_copies
from engines.kernels.shared_memory import EVERYWHERE, alone, half_of
from engines.kernels.tail import tail_spec

REGISTERS = 65536
"""The number of registers of a multiprocessor."""

KEPT_ON_HOPPER = [(name, gpu) for name, gpu in JOBS if gpu == 90 and ("kept" in name or name == "convolution at 1024")]

Compiled = dict[tuple[str, int], Future[CompiledKernel]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder, where Triton would leave its cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kernels(home: Path) -> Iterator[Compiled]:
    """All jobs, compiled in two other processes, since this one may run Triton's interpreter."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        patch.delenv("TRITON_INTERPRET", raising=False)
        patch.setenv("TRITON_HOME", str(home))
        yield {job: pool.submit(compiled, *job) for job in JOBS}


@pytest.fixture(params=JOBS, ids=lambda job: f"{job[0]} for sm_{job[1]}")
def kernel(kernels: Compiled, request: pytest.FixtureRequest) -> CompiledKernel:
    """One layer compiled for one GPU."""
    return kernels[request.param].result()


def test_a_kernel_fits_a_multiprocessor_twice_or_has_warps_for_two(
    kernel: CompiledKernel, request: pytest.FixtureRequest
) -> None:
    half = half_of(1024 * MULTIPROCESSOR_KIB[kernel.capability])
    if kernel.threads == 256:
        assert half < kernel.shared_bytes <= alone(half)
        assert kernel.registers * kernel.threads <= REGISTERS
        # The widest up-convolution on a B200, by Triton 3.6.
        assert kernel.spilled_bytes <= 12
        return
    assert kernel.shared_bytes <= (half if "kept" in request.node.name else EVERYWHERE)
    assert 2 * kernel.registers * kernel.threads <= REGISTERS
    assert kernel.spilled_bytes == 0


def test_maps_are_read_and_written_16_bytes_at_a_time(kernel: CompiledKernel, request: pytest.FixtureRequest) -> None:
    copies = re.findall(r"cp\.async\.\S+ \[.*?\], \[.*?\], (\w+)", kernel.ptx)
    reads = re.findall(r"ld\.global\S*\.v4\.b32", kernel.ptx)
    assert set(copies) == {"0x10"} if copies else reads
    # A thread that reads four float32 sums at once writes four numbers of the next map.
    vector = "v2" if "ToRGB of sums" in request.node.name else "v4"
    writes = re.findall(rf"st\.global\S*\.{vector}\.b32", kernel.ptx)
    assert writes or not {"y_ptr", "next_ptr"} & {*kernel.arguments}


def test_a_convolution_reads_its_pixels_and_weights_through_l1(kernel: CompiledKernel) -> None:
    copies = set(re.findall(r"cp\.async\.c\w\.", kernel.ptx))
    assert copies == ({"cp.async.ca."} if "weight_ptr" in kernel.arguments else set())


def test_products_run_on_tensor_cores(kernel: CompiledKernel) -> None:
    instruction = {90: "wgmma.mma_async", 100: "tcgen05.mma"}.get(kernel.capability, "mma.sync")
    assert (instruction in kernel.ptx) == ("weight_ptr" in kernel.arguments)


def test_copies_are_fenced_from_the_products_of_hopper_and_blackwell(kernel: CompiledKernel) -> None:
    asynchronous = re.search(r"wgmma\.mma_async|tcgen05\.mma", kernel.ptx)
    assert bool(asynchronous) == ("fence.proxy.async" in kernel.ptx)


@pytest.mark.parametrize("job", [*KEPT_ON_HOPPER], ids=lambda job: job[0])
def test_products_of_the_same_pixels_take_them_from_registers_and_wait_for_no_move(
    kernels: Compiled, job: tuple[str, int]
) -> None:
    kernel = kernels[job].result()
    assert set(re.findall(r"wgmma\.mma_async\S* \{[^}]*\}, (.)", kernel.ptx)) == {"{"}
    assert "serialized" not in assembler_report(kernel.ptx, kernel.capability)


@pytest.mark.parametrize("job", [*KEPT_ON_HOPPER], ids=lambda job: job[0])
def test_a_register_is_not_written_before_the_products_that_read_it_are_done(
    kernels: Compiled, job: tuple[str, int]
) -> None:
    products, early = overwritten_operands([*instructions(kernels[job].result().ptx)])
    assert products > 0
    assert early == []


def test_a_register_that_is_written_too_early_is_found() -> None:
    read, wait = "LDSM.16.M88.4 R72, [R7+UR32]", "WARPGROUP.DEPBAR.LE gsb0, 0x0"
    product, back = "HGMMA.64x32x16.F32 R40, R72, gdesc[UR48], R40, gsb0", "BRA `(.L_x_1)"
    assert overwritten_operands([("", read), ("", product), ("", wait), ("", read)]) == (1, [])
    assert overwritten_operands([("", read), ("", product), ("", read), ("", wait)]) == (1, [read])
    assert overwritten_operands([(".L_x_1", read), ("", product), ("", back)]) == (2, [read])


def test_a_kernel_takes_its_operands_and_nothing_else(kernel: CompiledKernel) -> None:
    entry = re.search(rf"\.visible \.entry {kernel.name}\(([^)]*)\)", kernel.ptx)
    assert entry is not None
    assert entry[1].count(".param .u64 .ptr") == len(kernel.arguments)
    assert kernel.arguments[0] in ("x_ptr", "w_ptr", "raw_ptr")
    assert kernel.arguments[-1] in ("y_ptr", "image_ptr", "raw_ptr", "demodulation_ptr")


def test_ptx_names_no_file_and_a_version_that_older_drivers_load(kernel: CompiledKernel) -> None:
    assert ".file" not in kernel.ptx
    assert f".version {PTX_VERSIONS[kernel.capability] / 10}" in kernel.ptx
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


def compiled_by_the_hook(stage: str) -> str:
    """What Triton's stage ``ptx`` gives if it gave ``stage`` before, with the hook that is installed now."""
    stages = {"ptx": lambda program, metadata: stage}
    hook = triton.knobs.runtime.add_stages_inspection_hook
    if hook is not None:
        hook(None, stages, None, None, 90)
    return stages["ptx"](None, None)


COPY = "cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10, %r2;"


def test_a_launched_kernel_is_compiled_with_copies_that_l1_keeps() -> None:
    kernel, programs = MagicMock(), []
    kernel.__getitem__.return_value = lambda **operands: programs.append(compiled_by_the_hook(COPY))
    spec = replace(tail_spec(8, 8, 8), kernel=kernel)
    spec.launch(1, dict.fromkeys(spec.arguments))
    assert programs == [COPY.replace(".cg.", ".ca.")]
    assert compiled_by_the_hook(COPY) == COPY


def test_copies_before_products_are_fenced_once() -> None:
    copies = "cp.async.wait_group \t0;\n\tbar.sync \t0;\n\t"
    fenced = fence_copies(copies + "wgmma.mma_async;")
    assert fenced == copies.replace("0;\n", "0;\n\tfence.proxy.async.shared::cta;\n", 1) + "wgmma.mma_async;"
    assert fence_copies(fenced) == fenced
    assert fence_copies(copies + "mma.sync;") == copies + "mma.sync;"


def test_what_other_threads_compile_in_the_meantime_stays_as_it_is() -> None:
    with copies_kept_in_l1(), ThreadPoolExecutor(1) as other:
        assert other.submit(compiled_by_the_hook, COPY).result() == COPY
        assert compiled_by_the_hook(COPY) != COPY


def test_an_unknown_gpu_is_refused() -> None:
    with pytest.raises(
        EngineError, match=r"got compute capability 7\.5, expected one of 8\.0, 8\.6, 8\.9, 9\.0, 10\.0"
    ):
        compile_ahead(tail_spec(8, 8, 8), 75)
