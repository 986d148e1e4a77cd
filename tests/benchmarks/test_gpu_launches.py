"""The table of the generator's launches: how it is counted, and that the page has the one that the code gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.generated import KERNELS_README
from benchmarks.gpu import launch_costs
from benchmarks.gpu.launch_costs import MULTIPROCESSORS, Launch, generator_launches
from benchmarks.gpu.launches import COMPILED, CompiledRow, all_launches, compiled_rows, record, with_tables
from benchmarks.networks import CONFIG_F
from benchmarks.records import read_records

SHORT = Launch("k", 8, MULTIPROCESSORS, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def recorded() -> list[CompiledRow]:
    return read_records(COMPILED, CompiledRow)


def find(kernel: str, size: int, batch: int = 1, *, through_l1: bool = True) -> Launch:
    launches = generator_launches(CONFIG_F, batch, through_l1=through_l1)
    return next(launch for launch in launches if (launch.kernel, launch.size) == (kernel, size))


@pytest.mark.parametrize(
    ("launch", "seconds"),
    [
        (SHORT, 2.2e-6),
        (replace(SHORT, floor=2.55e9), 1e-3),
        (replace(SHORT, emitted=5.5e9), 1e-3),
        (replace(SHORT, emitted=5.5e9, blocks=MULTIPROCESSORS // 2), 2e-3),
        (replace(SHORT, block_operations=798e9 / MULTIPROCESSORS), 1e-3),
        (replace(SHORT, block_operations=798e9 / MULTIPROCESSORS, blocks=MULTIPROCESSORS + 1), 2e-3),
        (replace(SHORT, block_shared=29.6e9 / MULTIPROCESSORS, blocks=2 * MULTIPROCESSORS), 2e-3),
    ],
    ids=["small", "memory", "L2", "half of the GPU", "one wave", "two waves", "shared memory"],
)
def test_a_launch_takes_as_long_as_its_narrowest_limit(launch: Launch, seconds: float) -> None:
    assert launch.seconds == pytest.approx(seconds)


def test_a_fused_convolution_reads_each_pixel_with_its_blocks_border_once_through_l1() -> None:
    launch, past_l1 = find("conv_rgb", 1024), find("conv_rgb", 1024, through_l1=False)
    blocks = (1024 // 32) * (1024 // 64)
    assert launch.blocks == blocks
    # Picture, skip and noise; of the map and its weight one copy is in the floor.
    others = launch.floor - 2 * 32 * (1024**2 + 9 * 32)
    assert launch.emitted - others == blocks * 2 * 32 * (34 * 66 + 9 * 32)
    assert past_l1.emitted - others == blocks * 2 * 32 * (34 * 3 * 64 + 9 * 32)


def test_kept_weights_pass_shared_memory_once_and_pixels_once_for_each_column_of_taps() -> None:
    launch = find("conv_rgb", 1024)
    copied_weights, pixels, weights = 9 * 4 * 32 * 32, 3 * (4 + 2) * 64 * 32, 9 * 2 * 32 * 32
    assert launch.block_shared == copied_weights + 34 * (pixels + weights)
    assert launch.block_operations == 34 * 64 * 18 * 32 * 32


def test_without_room_weights_are_copied_for_every_row_or_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [find("conv_up", 1024), find("conv_rgb", 1024)]
    monkeypatch.setattr(launch_costs, "BLOCK_BYTES", 0)
    copied = [find("conv_up", 1024), find("conv_rgb", 1024)]
    # For each row, nine weights are copied, and pixels are read nine times instead of three.
    assert copied[0].block_shared - kept[0].block_shared == 33 * 9 * 4 * 32 * 64 + 34 * 6 * 2 * 64 * 64
    # A tile of 128 pixels: each tap copies and reads pixels and weights, the latter twice.
    assert copied[1].block_shared == 9 * (4 * (128 + 32) * 32 + 2 * (128 + 2 * 32) * 32)


def test_maps_grow_with_the_batch_and_weights_do_not() -> None:
    one, eight = find("library convolution", 64), find("library convolution", 64, batch=8)
    weight = 18 * 512 * 512
    assert eight.floor - weight == 8 * (one.floor - weight)
    assert eight.operations == 8 * one.operations


def test_a_divided_convolution_writes_its_sums_and_to_rgb_reads_them() -> None:
    launch, to_rgb = find("conv_sums", 4, batch=2), find("to_rgb of sums", 4, batch=2)
    sums = 4 * 9 * 2 * 16 * 512
    assert launch.floor == 2 * 2 * 16 * 512 + 18 * 512 * 512 + sums
    assert launch.blocks == 2 * 9 * 512 // 32
    assert sums < to_rgb.floor < 1.2 * sums


def test_every_sample_reads_the_weights_of_all_styles_from_l2() -> None:
    launch = find("styles", 0, batch=8)
    # Convolutions and ToRGB of nine resolutions; 16 channels are a block.
    channels = (10 * 512 + 2 * 256 + 2 * 128 + 2 * 64 + 32) + (5 * 512 + 256 + 128 + 64 + 32)
    assert launch.floor == 2 * 512 * channels
    assert launch.emitted == 8 * launch.floor
    assert launch.blocks == 8 * channels // 16


def test_every_kernel_was_compiled_by_two_compilers_and_spills_nothing(recorded: list[CompiledRow]) -> None:
    kernels = {(x.kernel, x.size) for x in all_launches() if x.spec is not None}
    compilers = {row.triton for row in recorded}
    assert len(compilers) == 2
    assert {(row.triton, row.kernel, row.size) for row in recorded} == {(c, *k) for c in compilers for k in kernels}
    assert not any(row.spilled_bytes for row in recorded)


def test_the_recorded_registers_are_those_of_the_kernels_as_they_are(recorded: list[CompiledRow]) -> None:
    launches = [find("conv_up", 512), find("conv_rgb", 512), find("to_rgb", 64)]
    compiled = [*compiled_rows(launches)]
    known = {row.triton for row in recorded}
    assert not {row.triton for row in compiled} & known or {*compiled} <= {*recorded}


def test_the_page_has_the_table_of_the_recorded_rows(recorded: list[CompiledRow]) -> None:
    page = KERNELS_README.read_text()
    assert with_tables(page, recorded) == page


def test_rows_of_the_same_compiler_are_replaced(tmp_path: Path) -> None:
    path, old = tmp_path / "rows.csv", CompiledRow("3.6.0", "tail", 8, 60, 0, 0)
    other = replace(old, triton="3.7.1")
    record(path, [old])
    record(path, [other])
    assert record(path, [replace(old, registers=61)]) == [replace(old, registers=61), other]
    assert read_records(path, CompiledRow) == [replace(old, registers=61), other]
