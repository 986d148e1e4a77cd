"""``python -m benchmarks.gpu.launches``: every launch of the 1024x1024 generator, compiled and counted, without a GPU.

It compiles this package's kernels for an H100 with the installed compiler, replaces that compiler's rows in
``results/gpu_launches.csv``, and writes the tables of ``engines/kernels/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generated import KERNELS_README, line, number, with_section
from benchmarks.gpu.launch_costs import Launch, generator_launches
from benchmarks.networks import CONFIG_F
from benchmarks.records import RESULTS_FOLDER, append_records, read_records

COMPILED = RESULTS_FOLDER / "gpu_launches.csv"
CAPABILITY = 90
BATCHES = (1, 8)


@dataclass(frozen=True)
class CompiledRow:
    """What a compiler makes of a kernel: per thread its registers and spilled bytes, per block its shared memory."""

    triton: str
    kernel: str
    size: int
    registers: int
    spilled_bytes: int
    shared_bytes: int


def all_launches() -> list[Launch]:
    """The launches of every batch size; each kernel of a layer once."""
    launches = (launch for batch in BATCHES for launch in generator_launches(CONFIG_F, batch))
    return [*{(launch.kernel, launch.size): launch for launch in launches}.values()]


def compiled_rows(launches: Iterable[Launch]) -> Iterator[CompiledRow]:
    """Compile the launches that are this package's kernels."""
    # Imported here, since reading the recorded rows takes no compiler.
    import triton

    from engines.kernels.ahead_of_time import compile_ahead

    for launch in launches:
        if launch.spec is not None:
            kernel = compile_ahead(launch.spec, CAPABILITY)
            sizes = (kernel.registers, kernel.spilled_bytes, kernel.shared_bytes)
            yield CompiledRow(triton.__version__, launch.kernel, launch.size, *sizes)


def with_tables(text: str, rows: Sequence[CompiledRow]) -> str:
    """Replace the text between this module's markers by the tables of all batches."""
    parts = [table(list(generator_launches(CONFIG_F, batch)), batch, rows) for batch in BATCHES]
    return with_section(text, "benchmarks.gpu.launches", "\n".join(["", *parts]))


def table(launches: Sequence[Launch], batch: int, rows: Sequence[CompiledRow]) -> str:
    """The launches of one batch size, their sum, and the sum if copies went past L1."""
    total = _milliseconds(launches)
    rate = f"{1e3 * batch / total:.0f} pictures/s"
    past_l1 = _milliseconds(generator_launches(CONFIG_F, batch, through_l1=False))
    compilers = ", ".join(sorted({row.triton for row in rows}))
    return "\n".join(
        [
            f"**Batch {batch}**: {len(launches)} launches, calculated {total:.3f} ms, {rate}; "
            f"{past_l1:.3f} ms if copies went past L1.\n",
            f"| launch | output | blocks | registers (triton {compilers}) | spilled, bytes | shared, KiB "
            "| MB at least | MB through L2 | MB through shared memory | GFLOP | calculated us | limited by |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
            *(_launch_line(launch, rows) for launch in launches),
            "",
        ]
    )


def _launch_line(launch: Launch, rows: Sequence[CompiledRow]) -> str:
    own = [row for row in rows if (row.kernel, row.size) == (launch.kernel, launch.size)]
    own.sort(key=lambda row: row.triton)
    facts = [_values(row.registers for row in own), _values(row.spilled_bytes for row in own)]
    facts.append(_values(round(row.shared_bytes / 1024, 1) for row in own))
    moved = (launch.floor, launch.emitted, launch.blocks * launch.block_shared)
    counts = [number(moved_bytes / 1e6) for moved_bytes in moved] + [number(launch.operations / 1e9)]
    size = str(launch.size or "")
    return line(launch.kernel, size, str(launch.blocks), *facts, *counts, f"{1e6 * launch.seconds:.1f}", launch.limit)


def _values(values: Iterable[float]) -> str:
    """The compilers' values, once where they are equal."""
    texts = [f"{value:g}" for value in values]
    return texts[0] if len({*texts}) == 1 else ", ".join(texts)


def _milliseconds(launches: Iterable[Launch]) -> float:
    return 1e3 * sum(launch.seconds for launch in launches)


def record(path: Path, new: Sequence[CompiledRow]) -> list[CompiledRow]:
    """Replace the rows of the new ones' compiler, and return all rows."""
    kept = [row for row in read_records(path, CompiledRow) if row.triton not in {row.triton for row in new}]
    rows = sorted([*kept, *new], key=lambda row: row.triton)
    path.unlink(missing_ok=True)
    append_records(path, CompiledRow, rows)
    return rows


def main() -> None:
    """Compile every launch, record it, and write the tables."""
    rows = record(COMPILED, [*compiled_rows(all_launches())])
    KERNELS_README.write_text(with_tables(KERNELS_README.read_text(), rows))


if __name__ == "__main__":
    main()
